"""Plans of how many judgements to ask for, by hand and against simulated votes."""

import json

import numpy as np
import pytest

from likelier.cli import main
from likelier.errors import ConfigError
from likelier.feedback.planning import correlate_votes, first_exclusion, plan_judgements, plan_watching
from likelier.feedback.store import Store
from likelier.intervals import rate_interval
from likelier.records import Comparison, Judgement, Prompt, Response


def test_a_plan_by_hand():
    """(1.959964 sqrt(0.25) + 0.841621 sqrt(0.24))^2 / 0.1^2 = 193.9 prompts where each has one vote."""
    plan = plan_judgements(0.6, 0.52, 1)
    assert (plan.prompts, plan.judgements) == (194, 194)
    assert correlate_votes(0.6, 0.52) == pytest.approx(0)  # 0.6^2 + 0.4^2 is chance
    assert correlate_votes(0.6, 1.0) == 1
    assert plan_judgements(0.6, 0.52, 2).prompts == 97  # independent votes on a prompt are as good as on two
    assert plan_judgements(0.6, 1.0, 3).prompts == 194  # people who never differ add nothing
    assert plan_judgements(0.4, 0.52, 1).prompts == 194


def test_ties_decide_nothing():
    assert plan_judgements(0.6, 0.52, 1, ties=0.25).prompts == 259  # 193.9 / 0.75


def test_a_database_with_many_ties_gives_a_plan(tmp_path, capsys):
    """Two judge 100 pairs, of which half of their answers are ties: where neither is one they agree in 20 of 30."""
    first = ["left"] * 30 + ["tie"] * 70
    second = ["left"] * 20 + ["right"] * 10 + ["tie"] * 40 + ["left"] * 30
    with Store.open(tmp_path / "f.db", create=True) as store, store.transaction() as writer:
        for number, choices in enumerate(zip(first, second, strict=True)):
            prompt = Prompt(f"p{number}")
            one, two = Response(prompt.id, "one"), Response(prompt.id, "two")
            pair = Comparison(prompt.id, one.id, two.id)
            writer.add_prompts([prompt])
            writer.add_responses([one, two])
            writer.add_comparisons([pair])
            writer.add_judgements(
                [Judgement(pair.id, who, one.id, two.id, choice) for who, choice in zip("ab", choices, strict=True)]
            )
    assert main(["plan-judgements", "--db", str(tmp_path / "f.db"), "--win-rate", "0.7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["agreement"], found["ties"]) == pytest.approx((2 / 3, 0.55))
    assert main(["plan-judgements", "--db", str(tmp_path / "f.db"), "--win-rate", "0.9"]) == 0
    printed = capsys.readouterr()
    assert "two people agree in 66.7% of what neither called a tie, which is no more than by chance" in printed.err
    assert "and 55% of answers are ties, which decide nothing" in printed.out


def test_a_high_win_rate_needs_no_other_option(capsys):
    assert main(["plan-judgements", "--win-rate", "0.9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"] == pytest.approx(0.82)
    assert main(["plan-judgements", "--win-rate", "0.9", "--agreement", "0.75"]) != 0
    assert "--agreement 0.75: two people agree in 0.820 by chance" in capsys.readouterr().err


def test_as_many_see_the_difference_as_planned():
    """Of 400 panels: answers of which a person takes the model's with a probability from a Beta distribution."""
    plan, draw, seen = plan_judgements(0.6, 0.7, 2), np.random.default_rng(0), 0
    spread = 1 / correlate_votes(0.6, 0.7) - 1
    prompts = np.repeat(np.arange(plan.prompts), 2).astype(str)
    for _ in range(400):
        preferred = draw.beta(0.6 * spread, 0.4 * spread, plan.prompts)
        votes = draw.random(len(prompts)) < np.repeat(preferred, 2)
        low, _ = rate_interval(votes, prompts)
        seen += low > 0.5
    assert 0.72 < seen / 400 < 0.86


def test_who_watches_needs_more():
    assert 194 < plan_watching(0.6) < 2.5 * 194
    assert first_exclusion(np.ones(20, bool)) == 10  # (1.9^10 + 1.64^10 + ...) / 34 is 24, after 9 it is 13
    assert first_exclusion(np.arange(20) % 2 == 0) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.5, 0.7, 1), "--win-rate 0.5: give a number between 0 and 1, at least 0.005 from 0.5"),
        ((float("nan"), 0.7, 1), "--win-rate nan"),
        (
            (0.6, 0.5, 1),
            "--agreement 0.5: two people agree in 0.520 by chance where the win rate is 0.6",
        ),
        ((0.6, 0.7, 0), "--overlap 0: must be 1 or more"),
        ((0.6, 0.7, 1, 1.0), "--power 1.0: give a number from 0.5 to below 1"),
    ],
)
def test_what_cannot_be_is_named(values, said):
    with pytest.raises(ConfigError, match=said):
        plan_judgements(*values)
