"""A user's own loss: it ends where its formula leads, and what is wrong with it is said in one line."""

import pytest

from likelier.errors import ConfigError, LikelierError
from likelier.prove.matrix import random_table
from likelier.prove.user_loss import prove_own

LOSSES = """
import torch

def right(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    ratio = ((logprobs - old_logprobs) * mask).exp()
    whole = ((logprobs - ref_logprobs) * mask).sum(1)
    print("not a result")
    return ((-advantages * ratio * mask).sum() + kl_coef * (whole.square() / 2).sum()) / mask.sum()

def terms(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    whole = (logprobs - ref_logprobs).sum(1, keepdim=True)
    return -advantages * (logprobs - old_logprobs).exp() + kl_coef * whole.square() / 2 / mask.sum(1, keepdim=True)

def no_penalty(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    return -(advantages * (logprobs - old_logprobs).exp() * mask).sum() / mask.sum()

def raises(*everything):
    raise ValueError("two\\nlines")

def rows(logprobs, *others):
    return logprobs.sum(1)

def number(*everything):
    return 1.0

def nan(logprobs, *others):
    return logprobs.sum() * float("nan")

def constant(logprobs, *others):
    return logprobs.detach().sum()
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("losses") / "losses.py"
    path.write_text(LOSSES)
    return path


RIGHT = pytest.param("right", "optimum", marks=pytest.mark.battery)
NO_PENALTY = pytest.param("no_penalty", "best response", marks=pytest.mark.battery)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ends"), [RIGHT, ("terms", "optimum"), NO_PENALTY])
def test_a_loss_ends_where_its_formula_leads(file, name, ends, capfd):
    row = prove_own(random_table(1), f"{file}:{name}")
    assert (row.algorithm, row.expected, row.fixed_point) == ("own", True, ends)
    assert row.reached == row.holds == (ends == "optimum")
    assert row.fixed_point_distance < 0.05
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "raises ValueError: two lines"),
        ("rows", r"a tensor of shape \[512\]; return a term for each token, a tensor of shape \[512, 2\], or a scalar"),
        ("number", "returned float; return a term for each token"),
        ("nan", "returned nan, which is not finite"),
        ("constant", "without gradient; compute it from logprobs"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(file, name, words):
    with pytest.raises(LikelierError, match=words) as error:
        prove_own(random_table(1), f"{file}:{name}")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 1


def test_no_such_file_or_function(file):
    with pytest.raises(ConfigError, match="loss function `nowhere.py:f`: no such file"):
        prove_own(random_table(1), "nowhere.py:f")
    with pytest.raises(ConfigError, match="has no function `wrong`"):
        prove_own(random_table(1), f"{file}:wrong")
