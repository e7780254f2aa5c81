"""Where a round begins, and what it is measured from."""

import pytest

from likelier.config import build_config
from likelier.runs.round import Round


@pytest.mark.parametrize(
    ("start", "begins", "reference"),
    [("last", "better", "first"), ("start", "first", None), ("mine", "mine", "first")],
)
def test_a_round_starts_and_measures_kl_where_it_is_told(tmp_path, start, begins, reference):
    config = build_config({"model": "first", "circle": {"start": start}})
    later = Round(config, tmp_path, "f.db", "better", tmp_path)
    assert (later.start, later.reference) == (begins, reference)
    own = build_config({"model": "first", "circle": {"start": start}, "ppo": {"reference": "other"}})
    assert Round(own, tmp_path, "f.db", "better", tmp_path).reference == "other"


def test_the_first_round_is_measured_from_its_own_start(tmp_path):
    config = build_config({"model": "first"})
    assert Round(config, tmp_path, "f.db", "first", tmp_path).reference is None
