"""Parts of a score: words left out equal texts that are scored again; the command and its page."""

import json
from pathlib import Path

import pytest

from likelier.cli import main
from likelier.explain.attribution import attribute_score
from likelier.files import write_json, write_jsonl
from likelier.records import Preference
from likelier.reward.ensemble import Ensemble
from likelier.text.reward_model import new_reward_model
from tiny import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("parts") / "model", words=["a", "b", "c", "d"])


def test_words_left_out_equal_texts_scored_again(model: Path) -> None:
    rewards = [new_reward_model(model, "cpu"), new_reward_model(model, "cpu")]
    ensemble = Ensemble(rewards, [0.5, -0.25])
    found = attribute_score(ensemble, "a b", " c d a")
    assert found["words"] == [" c", " d", " a"]
    scores = ensemble.score(["a b"] * 4, [" c d a", " d a", " c a", " c d"]).tolist()
    assert found["score"] == pytest.approx(scores[0], abs=1e-6)
    assert found["left_out"] == pytest.approx([scores[0] - other for other in scores[1:]], abs=1e-6)
    assert found["tokens"] == [" c", " d", " a", " </s>"]
    each = [reward.attribute("a b", " c d a") for reward in rewards]
    mean = [(one + other) / 2 for one, other in zip(each[0].parts, each[1].parts, strict=True)]
    assert found["gradient"] == pytest.approx(mean[3:], abs=1e-6)
    assert found["prompt_part"] == pytest.approx(sum(mean[:3]), abs=1e-6)


def test_an_empty_response_has_a_score_and_no_words(model: Path) -> None:
    found = attribute_score(Ensemble([new_reward_model(model, "cpu")], [0.0]), "a", "")
    assert (found["words"], found["left_out"], found["tokens"]) == ([], [], [" </s>"])


def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, pairs, out = tmp_path / "run", tmp_path / "pairs.jsonl", tmp_path / "page.html"
    reward = new_reward_model(model, "cpu")
    reward.model.save_pretrained(run / "model")
    reward.tokenizer.save_pretrained(run / "model")
    write_json(run / "run.json", {"verb": "reward"})
    write_json(run / "result.json", {"accuracy": 0.5})
    (run / "config.yaml").write_text("reward_model: {device: cpu}\n")
    write_jsonl(
        pairs, [Preference("a", " b", " c d"), Preference("a", " b", " c d", annotator="x"), Preference("d", "", " a")]
    )
    command = ["tokens", str(run), "--on", str(pairs), "-o", str(out), "--json"]
    capsys.readouterr()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "pairs": 2, "tokens": 8}
    assert main([*command, "--pairs", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 1
    for words, said in (
        (["tokens", str(run)], "a reward run; give --on PAIRS.jsonl"),
        ([*command, "--step", "3"], "is a reward run, which has no tokens of steps"),
        (["tokens", str(tmp_path), "--on", str(pairs)], "is of a reward run, and"),
        (["tokens", str(tmp_path), "--pairs", "3"], "--pairs: is of a reward run"),
    ):
        assert main(words) == 2
        assert said in (err := capsys.readouterr().err)
        assert err.count("\n") == 1
    assert main([*command[:3], str(tmp_path / "none.jsonl"), "-o", str(out)]) == 3
