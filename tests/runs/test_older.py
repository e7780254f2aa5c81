"""What an older version's defaults were, where today's are others."""

import yaml

from likelier.config import build_config
from likelier.files import write_json
from likelier.runs.older import keep_former_defaults
from likelier.runs.record import NOT_COMPARED


def test_former_defaults_stay_unless_the_user_says_otherwise(tmp_path):
    recorded = tmp_path / "config.yaml"
    today = build_config({"ppo": {"learning_rate": 1e-4}})
    assert keep_former_defaults(today, tmp_path) is today  # nothing is recorded
    recorded.write_text(yaml.safe_dump({"reward_model": {"num_epochs": 1}, "ppo": {"response_length": 64}}))
    kept = keep_former_defaults(today, tmp_path)
    assert (kept.reward_model.num_epochs, kept.ppo.response_length, kept.ppo.learning_rate) == (1, 64, 1e-4)
    assert kept.eval.response_length == today.eval.response_length  # not recorded
    given = build_config({"ppo": {"response_length": 256}})
    assert keep_former_defaults(given, tmp_path).ppo.response_length == 256
    recorded.write_text(yaml.safe_dump({"ppo": {"response_length": 32}}))  # chosen then: a difference to be named
    assert keep_former_defaults(today, tmp_path).ppo.response_length == 256


def test_a_circle_of_an_older_version_keeps_its_defaults(tmp_path):
    """Its settings were not recorded, but that it was begun by a version that recorded no inputs is."""
    changes = [{"not_compared": "inputs"}]
    write_json(tmp_path / "run.json", {"verb": "circle", "changes": changes})
    today = build_config({"ppo": {"response_length": 32}})
    assert keep_former_defaults(today, tmp_path) is today
    write_json(tmp_path / "run.json", {"verb": "circle", "changes": [*changes, dict(NOT_COMPARED)]})
    kept = keep_former_defaults(today, tmp_path)
    assert (kept.reward_model.num_epochs, kept.eval.response_length, kept.ppo.response_length) == (1, 64, 32)
