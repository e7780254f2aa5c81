"""Once through the verbs with a tiny model: each answers with the keys that INTERFACE promises, from files to files."""

import json
import random

import pytest

from likelier.cli import main
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.records import Judgement
from tiny import save_tiny_model

PEOPLE = ("ann", "bob", "cyd")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, prompts and a config."""
    folder = tmp_path_factory.mktemp("interface")
    save_tiny_model(folder / "model", words=["a", "b", "c", "d"], context=32)
    texts = [f"{one} {two} {three}" for one in "abcd" for two in "abcd" for three in "abcd"]
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in texts])
    write_jsonl(folder / "sft.jsonl", [{"prompt": text, "completion": " a"} for text in texts])
    small = {"batch_size": 8, "device": "cpu", "learning_rate": 0.01}
    scorer = [{"model": "reward/model", "name": "judge"}]
    ppo = small | {
        "total_episodes": 16,
        "response_length": 5,
        "num_mini_batches": 2,
        "num_eval_prompts": 8,
        "anyway": True,
    }
    evaluation = {"model_a": "model", "model_b": "ppo/model", "prompts": "prompts.jsonl", "scorer": scorer}
    settings = {
        "model": "model",
        "prompts": "prompts.jsonl",
        "sft": small,
        "reward_model": small | {"num_epochs": 1},
        "ppo": ppo,
    }
    settings["eval"] = evaluation | {"response_length": 5, "num_prompts": 16, "device": "cpu"}
    (folder / "c.yaml").write_text(json.dumps(settings))
    return folder


def judge_everything(db):
    """Each person judges every comparison; more of `a` is better, and one answer in ten is a slip."""
    draw = random.Random(0)
    with Store.open(db) as store:
        texts = {response.id: response.text for response in store.responses()}
        for pair in store.comparisons():
            for person in PEOPLE:
                left, right = draw.sample([pair.response_a, pair.response_b], 2)
                better = texts[left].count("a") > texts[right].count("a")
                choice = "left" if better != (draw.random() < 0.1) else "right"
                store.add_judgement(Judgement(pair.id, person, left, right, choice, duration_seconds=3.0))


@pytest.mark.slow
def test_every_verb_answers_with_its_keys(place, monkeypatch, capfd):
    monkeypatch.chdir(place)

    def answer(*words):
        code = main([*words, "--json"])
        out, err = capfd.readouterr()
        assert (code, out.count("\n")) == (0, 1), err
        return json.loads(out)

    asked = ("candidates", "--model", "model", "--prompts", "prompts.jsonl", "--response-length", "5")
    assert answer(*asked, "-k", "3", "-o", "answers.jsonl") == {"prompts": 64, "responses": 192}
    imported = answer("data", "import", "answers.jsonl", "--format", "likelier", "--db", "f.db")
    assert imported.keys() >= {"read", "stored", "skipped", "judgements", "annotators"}
    assert answer(*asked, "--db", "f.db", "--seed", "1") == {"prompts": 64, "responses": 128}

    judge_everything("f.db")
    checked = answer("check", "--db", "f.db")
    assert checked.keys() >= {"comparisons", "judgements", "alpha", "alpha_interval", "position_bias", "length_bias"}
    assert [person["id"] for person in checked["annotators"]] == list(PEOPLE)
    person = {"id", "judgements", "skill", "error_rate", "left_rate", "flags"}
    assert all(found.keys() >= person for found in checked["annotators"])
    assert checked["judgements"] == len(PEOPLE) * checked["comparisons"]

    exported = answer("data", "export", "--db", "f.db", "--format", "trl", "-o", "pairs.jsonl")
    assert (exported["written"], exported["skipped"]) == (checked["judgements"], 0)
    pairs = answer("preferences", "--db", "f.db", "-o", "pairs")
    assert pairs.keys() >= {"train", "valid", "test", "dropped"}
    assert all(pairs[part] > 0 for part in ("train", "valid", "test"))

    training = {"run", "steps", "optimizer_steps", "seconds"}
    assert answer("sft", "c.yaml", "data=sft.jsonl", "--out", "sft").keys() >= training
    learned = answer("reward", "c.yaml", "data=pairs", "--out", "reward")
    quality = {"accuracy", "accuracy_interval", "log_loss", "calibration_error", "length_only_accuracy"}
    assert learned.keys() >= training | quality
    improved = answer("ppo", "c.yaml", "reward=[{model: reward/model}]", "--out", "ppo", "--seed", "3")
    assert improved.keys() >= training | {"score_before", "score_after", "kl", "response_length", "findings"}
    assert (improved["steps"], improved["optimizer_steps"]) == (2, 16)
    compared = answer("eval", "c.yaml", "--out", "eval")
    assert compared.keys() >= {"win_rate", "interval", "ties", "n", "score_a", "score_b", "kl"}
    assert answer("report", "reward", "ppo", "eval", "-o", "report.html") == {"file": "report.html"}
    assert (place / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_a_finished_run_can_be_asked_again(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    words = ["sft", "c.yaml", "data=sft.jsonl", "sft.max_steps=2", "--json"]
    assert main([*words, "--resume", "auto"]) == 0
    first = json.loads(capfd.readouterr().out)
    assert first["run"] == "runs/c-1"
    assert main([*words, "--resume", "auto"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert main(words) == 0
    assert json.loads(capfd.readouterr().out)["run"] == "runs/c-2"
