"""What checks shapes and types while tests run: beartype, with an int wherever Python takes it for a float."""

from beartype import BeartypeConf, beartype
from jaxtyping import config

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

CALLS = 2000
"""So many calls of each test are checked, every kind of them; with all checked a training takes twice as long."""


class CheckFirstCalls(type(config)):
    """jaxtyping's settings, which it reads once in each call: off after `CALLS` of them."""

    calls = 0

    @property
    def jaxtyping_disable(self):
        self.calls += 1
        return self.calls > CALLS


def start_checks():
    """Check the next `CALLS` calls."""
    config.calls = 0


del config.jaxtyping_disable
config.__class__ = CheckFirstCalls
