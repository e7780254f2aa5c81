"""Responses that shrink, grow, never end, become certain, or repeat themselves."""

import pytest

from broken_metrics import history, ramp
from likelier.doctor.findings import responses as text


@pytest.mark.parametrize(
    "look", [text.length_collapse, text.length_blowup, text.never_ends, text.entropy_collapse, text.repetition]
)
@pytest.mark.parametrize("num_steps", [1, 5, 40])
def test_nothing_is_found_in_a_healthy_run(look, num_steps):
    assert not any(look(history(num_steps=num_steps, seed=seed)) for seed in range(20))


def test_length_collapse():
    found = text.length_collapse(history(response_length=ramp(25, 1)))
    assert found.severity == "error"
    assert "in steps 1 to 4" in found.evidence
    assert text.length_collapse(history(response_length=ramp(25, 15))) is None


def test_responses_that_end_at_once():
    found = text.length_collapse(history({"stop_strings": [" "]}, num_steps=3, response_length=1.0))
    assert "(ppo.stop_strings [' '])" in found.cause
    assert "first token" in text.length_collapse(history(response_length=1.0)).cause
    assert text.length_collapse(history({"response_length": 1}, response_length=1.0)) is None  # asked for


def test_length_blowup():
    assert "of at most 40" in text.length_blowup(history(response_length=ramp(12, 24))).evidence
    assert "score rises with length" in text.length_blowup(history(response_length=ramp(12, 24))).cause
    assert "broken down" in text.length_blowup(history(response_length=ramp(12, 24), score=ramp(1, 0))).cause
    assert text.length_blowup(history(response_length=ramp(28, 40))) is not None  # comes to fill the limit
    assert text.length_blowup(history(response_length=ramp(20, 26))) is None
    assert text.length_blowup(history(response_length=40.0)) is None  # always had one length


def test_never_ends():
    unlearned = text.never_ends(history(ended_rate=ramp(0.9, -0.2).clip(0)))
    assert "unlearned" in unlearned.cause
    assert "does not know" in text.never_ends(history(ended_rate=0.0)).cause
    assert text.never_ends(history({"stop_token": None}, ended_rate=0.0)) is None  # asked for


def test_entropy_collapse():
    assert text.entropy_collapse(history(entropy=ramp(1.6, -0.3).clip(0.01))).severity == "error"
    assert text.entropy_collapse(history(entropy=ramp(1.6, 0.1))).severity == "warning"
    assert text.entropy_collapse(history(entropy=ramp(1.6, 0.8))) is None


def test_repetition():
    assert "does not mind" in text.repetition(history(repetition=ramp(0.05, 0.5))).cause
    assert "from the start" in text.repetition(history(repetition=0.7)).cause
    assert text.repetition(history(repetition=ramp(0.05, 0.12))) is None
    assert text.repetition(history(repetition=0.7, response_length=4.0)) is None  # too short to say


def test_often_cut():
    found = text.often_cut(history(ended_rate=0.7))
    assert "ended_rate 0.7" in found.evidence
    assert text.often_cut(history(ended_rate=0.95)) is None
    assert text.often_cut(history(ended_rate=ramp(0.7, 0.99))) is None  # the policy has learned to end
    assert text.often_cut(history(ended_rate=0.0)) is None  # that is never_ends
    assert text.often_cut(history({"stop_token": None}, ended_rate=0.5)) is None
