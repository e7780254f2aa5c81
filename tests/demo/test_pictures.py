"""The demo on pictures in miniature: from the first picture to the report, again, and with a visitor."""

import functools
import json

import numpy as np
import pytest
import torch

from likelier.circle import Round
from likelier.cli import main
from likelier.config import build_config
from likelier.demo import picture_judges, pictures
from likelier.demo.pictures import make_data_url, run_picture_demo
from likelier.errors import ConfigError
from likelier.feedback.store import Store
from likelier.files import read_json
from likelier.images import diffusion, reward_model, scores
from likelier.images.digits import load_digits
from likelier.images.reward_model import PictureReward, PictureStore
from likelier.records import Judgement
from likelier.reward.verdict import Verdict
from likelier.training.state import save_module


@pytest.fixture
def small(monkeypatch):
    """Ten groups of pictures, a start that has hardly learned, and a few steps of PPO."""
    short = {"total_episodes": 128, "batch_size": 32, "num_eval_prompts": 20, "eval_steps": 2, "learning_rate": 3e-4}
    monkeypatch.setattr(pictures, "SETTINGS", pictures.SETTINGS | short)
    for name, value in {"NUM_GROUPS": 30, "COMPARISONS": 150, "NUM_EVALUATED": 40, "NUM_SHOWN": 6}.items():
        monkeypatch.setattr(pictures, name, value)
    monkeypatch.setattr(reward_model, "MAX_STEPS", 25)
    monkeypatch.setattr(scores, "STEPS", 50)
    monkeypatch.setattr(pictures, "open_start", functools.partial(diffusion.open_start, steps=20))
    monkeypatch.setattr(picture_judges, "NUM_ANSWERS", 60)
    monkeypatch.setattr(picture_judges, "NUM_VERDICTS", 5)


def test_the_round_is_told_in_the_report_and_done_once(tmp_path, small, capsys, monkeypatch):
    out = tmp_path / "demo"
    command = ["demo", "ppo.keep_best=true taste", "--images", "--taste", "bold", "--json", "--out", str(out)]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judgements"] == 300
    assert found["annotators"] == 12
    assert len(found["spammers_planted"]) == 3
    page = (out / "report.html").read_text()
    assert "Simulated." in page
    assert "bold stroke" in page
    assert page.count("data:image/png;base64,") == 2 + 24  # before and after, and twelve comparisons
    evaluation = read_json(out / "evaluation.json")
    assert evaluation["n"] == 40
    assert 1 <= evaluation["pictures"]["diversity_after"]["digits"] <= 10
    lines = [json.loads(line) for line in (out / "policy/metrics.jsonl").read_text().splitlines()]
    assert [("eval/true taste" in line) for line in lines] == [False, True, False, True]
    trained = read_json(out / "policy/result.json")
    assert "true taste" in trained["overoptimisation"]
    assert trained["kept"]["fresh_pictures"] == 20
    assert read_json(out / "circle.json")["command"].endswith("--seed 0 --taste bold 'ppo.keep_best=true taste'")

    monkeypatch.setattr(pictures, "finetune", lambda *words: pytest.fail("trained twice"))
    assert main([*command, "--resume", str(out)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again | {"seconds": 0} == found | {"seconds": 0}


def test_a_visitor_judges_before_and_after(tmp_path, small, monkeypatch):
    """A visitor who likes ink: 60 comparisons to learn from, and 5 of pictures before and after."""
    asked = []

    def page(store, wanted, **settings):
        asked.append(wanted)
        for number, pair in enumerate(store.comparisons()[:wanted]):
            by_id = {response.id: response for response in store.responses()}
            sizes = [len(store.media_folder.find(by_id[each].media).read_bytes()) for each in pair.responses]
            choice = "left" if sizes[0] >= sizes[1] else "right"
            store.add_judgement(Judgement(pair.id, "me", *pair.responses, choice, key=str(number)))

    monkeypatch.setattr(picture_judges, "serve", page)
    monkeypatch.setattr(pictures, "assess_reward_model", lambda result: Verdict("unproven", "few pairs"))
    found = run_picture_demo(tmp_path / "demo", 0, None, people=True)
    assert asked == [60, 5]
    assert found["judgements"] == 60
    assert "spammers_planted" not in found
    record = read_json(tmp_path / "demo/evaluation.json")
    assert (record["n"], record["judgements"], record["people"], record["unjudged"]) == (5, 5, 1, 0)
    with Store.open(tmp_path / "demo/after.db") as store:
        after = {response.id for response in store.responses() if response.model == "after"}
        won = [each.judgement.preferred in after for each in store.judged()]
    assert record["win_rate"] == pytest.approx(np.mean(won))
    assert "Digits, your taste" in (tmp_path / "demo/report.html").read_text()


def test_a_reward_at_chance_trains_no_policy(tmp_path, small, monkeypatch):
    chance = {"accuracy": 0.4, "accuracy_interval": [0.3, 0.5], "log_loss": 0.7, "pairs": 50}
    monkeypatch.setattr(pictures, "train_reward", lambda circle_round: chance)
    found = run_picture_demo(tmp_path / "demo", 0, "hollow", people=False)
    assert found["reward_at_chance"]
    assert found["win_rate"] is None
    assert "a coin ranks 50" in found["in_words"]
    assert not (tmp_path / "demo/policy").exists()
    assert "skipped" in (tmp_path / "demo/report.html").read_text()


def test_errors_are_one_line(tmp_path, small, capsys, monkeypatch):
    assert main(["demo", "--images", "--taste", "kind", "--out", str(tmp_path / "a")]) == 2
    assert "--taste kind: allowed with --images: bold, symmetric, hollow" in capsys.readouterr().err
    for settings, message in {
        ("ppo.keep_best=gold", "--images"): "ppo.keep_best: no judge is called 'gold'; there is true taste",
        ("ppo.keep_best=true taste", "--images", "--people"): "no judge is called 'true taste'; there is none",
        ("seed=3", "--images"): "demo --images: seed=3: takes settings of `ppo` only",
        ("ppo.kl_coef=1",): "demo: ppo.kl_coef=1: only --images takes settings",
    }.items():
        assert main(["demo", *settings, "--out", str(tmp_path / "a")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "demo.json").write_text('{"seed": 0, "taste": null, "people": true}')
    with pytest.raises(ConfigError, match="was started with --images"):
        run_picture_demo(tmp_path / "b", 0, None, people=True)
    load_digits.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    assert main(["demo", "--images", "--out", str(tmp_path / "c")]) == 2
    assert "pip install scikit-learn" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_scores_of_somebody_without_doubts_are_scaled_down(tmp_path, monkeypatch):
    circle_round = Round(build_config({}), tmp_path, "f.db", "", tmp_path / "candidates")
    (tmp_path / "reward").mkdir()
    (tmp_path / "candidates").mkdir()
    ink = np.linspace(0, 1, 6400, dtype=np.float32).reshape(100, 64)
    PictureStore([f"{row:064x}" for row in range(100)], ink).save(tmp_path / "candidates" / "pictures.safetensors")
    model = PictureReward(64, torch.Generator().manual_seed(0))
    pictures_of_it = torch.from_numpy(ink) * 2 - 1
    for factor, expected in ((1.0, None), (1000.0, 4.0)):
        with torch.no_grad():
            for member in model.members:
                member[4].weight *= factor
        save_module(tmp_path / "reward" / "reward.safetensors", model)
        found = pictures.load_reward(circle_round)(pictures_of_it).std().item()
        assert found == pytest.approx(expected or model(pictures_of_it).std().item(), rel=1e-4)


def test_data_urls():
    assert make_data_url(b"\x89PNG") == "data:image/png;base64,iVBORw=="
