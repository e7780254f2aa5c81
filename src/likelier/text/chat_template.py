"""Runs a chat template, a program from elsewhere, within limits of time, memory and length."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from types import FrameType
from typing import Any

from jinja2 import Environment, TemplateError
from transformers import PreTrainedTokenizerBase

from likelier.config import OWN_ARGUMENTS
from likelier.errors import DataError

MAX_SECONDS = 10.0
"""How long one rendering may take. It usually takes less than a millisecond."""
MAX_NEW_BYTES = 1 << 29
"""How much memory one rendering may add to the process (Linux only; elsewhere the limits of time and length remain)."""
MAX_CHARACTERS = 1 << 24
"""Length of a rendered text: as much as a line of a prompt file may hold."""
KWARGS = "likelier_chat_template_kwargs"
"""Entry of `tokenizer_config.json`: arguments that a model's chat template is given, in training and ever after."""
FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Raised within a chat template: an error in it is the template's, not ours."""
TEMPLATE = "<template>"
"""The name that jinja gives to the code of a template."""
one_at_a_time = threading.Lock()
"""The limit of memory belongs to the process, so that two renderings would lift each other's."""


def set_template_kwargs(tokenizer: PreTrainedTokenizerBase, kwargs: Mapping[str, Any]) -> None:
    """Give the chat template arguments, such as `enable_thinking`; without any it keeps those of its folder."""
    if kwargs:
        tokenizer.init_kwargs[KWARGS] = dict(kwargs)


def get_template_kwargs(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the arguments of the chat template, without those that `apply_chat_template` has for itself.

    A folder from elsewhere could name another template by them.
    """
    kwargs = tokenizer.init_kwargs.get(KWARGS)
    return {str(name): kwargs[name] for name in kwargs if name not in OWN_ARGUMENTS} if isinstance(kwargs, dict) else {}


class TooLong(BaseException):
    """The time is up. No Exception, so that nothing in the template's calls takes it for a failure of its own."""


def render_template(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[dict[str, Any]], opens_turn: bool = True
) -> str:
    """Return messages as the tokenizer's chat template writes them, with the assistant's turn opened or not.

    transformers runs the template in an immutable sandbox, which limits what it reaches, not how long it runs nor how
    much it writes. DataError names the model folder: the template has not ended in `MAX_SECONDS`, takes more than
    `MAX_NEW_BYTES`, or writes more than `MAX_CHARACTERS`. An error of the template itself passes as it is: `FAILURES`.
    """
    folder = f"{tokenizer.name_or_path or 'the tokenizer'}: the chat template"
    try:
        if raises_to_a_power(tokenizer.get_chat_template()):
            raise DataError(f"{folder} raises numbers to a power, which may take for ever; give another chat_template")
        with one_at_a_time, limit_memory(MAX_NEW_BYTES), limit_time(MAX_SECONDS):
            more = get_template_kwargs(tokenizer)
            text = tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=opens_turn, **more)
            text = str(text)
    except TooLong:
        raise DataError(f"{folder} has not ended after {MAX_SECONDS:g} s; give another chat_template") from None
    except MemoryError:
        raise DataError(f"{folder} takes more than {MAX_NEW_BYTES >> 20} MiB; give another chat_template") from None
    if len(text) > MAX_CHARACTERS:
        raise DataError(f"{folder} writes {len(text)} characters, at most {MAX_CHARACTERS} may be; give another one")
    return text


@lru_cache
def raises_to_a_power(template: str) -> bool:
    """Return True for a template with `a ** b`: a power is one step, however long it takes, which nothing can stop.

    `**` behind a bracket or comma is none, it hands on named arguments. TemplateError: the text is no template.
    """
    words = [word for _, kind, word in Environment().lex(template) if kind != "whitespace"]
    return any(word == "**" and before not in ("(", ",") for before, word in pairwise(words))


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Raise TooLong in this thread after some seconds, at the next line of a template or call of a Python function.

    A trace function, since nothing else stops a loop that writes nothing in a thread other than the main one; what runs
    between two lines without Python, such as a join, is short because its memory is limited.
    """
    now, end = time.monotonic, time.monotonic() + seconds

    def check(frame: FrameType, event: str, argument: object) -> Any:
        if now() > end:
            raise TooLong
        return check if frame.f_code.co_filename == TEMPLATE else None

    previous = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(previous)


@contextmanager
def limit_memory(new_bytes: int) -> Iterator[None]:
    """Let this process take so much more memory and no more: beyond, what asks for it raises MemoryError."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", "rb", buffering=0) as file:
        limit = int(file.read().split()[0]) * resource.getpagesize() + new_bytes
    for lower in (soft, hard):
        limit = limit if lower == resource.RLIM_INFINITY else min(limit, lower)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
