"""Who taught a reward model the score of a response."""

import json
from pathlib import Path

import numpy as np
import pytest

from likelier.cli import main
from likelier.config import build_config
from likelier.errors import ConfigError, DataError
from likelier.explain.run import RewardRun, load_reward_run
from likelier.explain.taught import explain_score, number_comparisons
from likelier.files import write_json, write_jsonl
from likelier.records import Preference
from likelier.reward.ensemble import Ensemble
from likelier.reward.pairs import Pairs
from likelier.text.reward_model import find_score_head, new_reward_model
from tiny import save_tiny_model

WORDS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("taught") / "model", words=WORDS)


@pytest.fixture(scope="module")
def run(folder: Path) -> RewardRun:
    """Ann likes `a`, Bob and Cyd like `b`; Bob and Cyd judge the same comparisons, Ann others."""
    texts = [f" {one} {two}" for one in "cd" for two in "cd"]
    train = [Preference(text, " a", " b", annotator="ann") for text in texts]
    train += [Preference(f"{text} c", " b", " a", annotator=name) for text in texts for name in ("bob", "cyd")]
    reward = new_reward_model(folder, "cpu")
    config = build_config({"model": str(folder), "reward_model": {"use_flip": False}})
    return RewardRun(folder, config, Pairs(train, train[:6], [], "hash"), Ensemble([reward], [0.0]))


def test_features_times_the_head_are_the_score(run: RewardRun) -> None:
    reward = run.ensemble.members[0]
    prompts, responses = ["a b c", "d"], [" a", " b c d a"]
    features = reward.features(prompts, responses)
    assert features.shape == (2, 16)
    scores = find_score_head(reward.model)(features)[:, 0]
    assert scores.tolist() == pytest.approx(reward.score(prompts, responses).tolist(), abs=1e-6)


def test_whoever_likes_a_response_raises_its_score(run: RewardRun) -> None:
    taught = explain_score(run, " c d", " a")
    change = {each["id"]: each["change"] for each in taught["annotators"]}
    assert change["ann"] < 0 < change["bob"] == pytest.approx(change["cyd"])
    assert {each["id"]: each["judgements"] for each in taught["annotators"]} == {"ann": 4, "bob": 4, "cyd": 4}
    for each in taught["annotators"]:
        assert each["without"] == pytest.approx(taught["score"] + each["change"])


def test_comparisons_name_who_preferred_what(run: RewardRun) -> None:
    taught = explain_score(run, " c d", " a", top=1)
    (strongest,) = taught["comparisons"]
    assert (strongest["chosen"], strongest["rejected"], strongest["change"] > 0) == (" b", " a", True)
    assert strongest["annotators"] == [{"id": "bob", "chose": "chosen"}, {"id": "cyd", "chose": "chosen"}]


def test_judgements_of_one_pair_are_one_comparison() -> None:
    pairs = [Preference("p", "x", "y"), Preference("q", "x", "y"), Preference("p", "y", "x")]
    assert number_comparisons(pairs).tolist() == [0, 1, 0]


def write_run(folder: Path, model: Path, made_from: str) -> Path:
    """Write what a finished reward run leaves, without its training."""
    write_jsonl(folder / "pairs" / "train.jsonl", [Preference("a", " a", " b")] * 3)
    run = folder / "run"
    (run / "model").mkdir(parents=True)
    write_json(run / "run.json", {"verb": "reward"})
    write_json(run / "result.json", {"accuracy": None})
    write_json(run / "model" / "card.json", {"made_from": made_from})
    (run / "config.yaml").write_text(json.dumps({"model": str(model), "data": str(folder / "pairs")}))
    return run


def test_pairs_that_have_changed_are_refused(tmp_path: Path, folder: Path) -> None:
    run = write_run(tmp_path, folder, "another hash")
    with pytest.raises(DataError, match=r"pairs: these are not the pairs that .* was trained on .*--data"):
        load_reward_run(run)


def test_what_is_no_reward_run_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="no finished run of `likelier reward`"):
        load_reward_run(tmp_path)
    run = write_run(tmp_path, folder, "")
    (run / "result.json").unlink()
    with pytest.raises(ConfigError, match="no finished run"):
        load_reward_run(run)


def test_a_prompt_needs_its_response(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tmp_path), "--prompt", "a"]) == 2
    assert capsys.readouterr().err == "likelier: --prompt: give the --response too that it was answered with\n"


def test_changes_of_members_are_averaged(run: RewardRun, folder: Path) -> None:
    alone = explain_score(run, " c", " b")
    reward = run.ensemble.members[0]
    both = RewardRun(run.folder, run.config, run.pairs, Ensemble([reward, reward], [0.0, 0.0]))
    found = explain_score(both, " c", " b")
    assert np.allclose([each["change"] for each in found["annotators"]], [e["change"] for e in alone["annotators"]])
