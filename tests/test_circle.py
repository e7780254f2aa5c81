"""Stages are done once, made anew when their inputs change, and numbers reach the picture."""

import contextlib

import pytest

from likelier import circle
from likelier.circle import Round, once, run_circle, split_prompts
from likelier.config import build_config
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response, read_prompts, write_jsonl

STAGES = ["prompts", "candidates", "feedback", "check", "preferences", "reward", "policy", "evaluation"]
FUNCTIONS = [
    "split_prompts", "write_responses", "ask_people", "check_feedback",
    "make_pairs", "learn_reward", "improve_policy", "compare_models",
]  # fmt: skip


def round_in(folder, **circle):
    prompts = folder / "prompts.jsonl"
    write_jsonl(prompts, [{"prompt": f"Once {number}"} for number in range(20)] + [{"prompt": "Once 3"}])
    config = build_config({"model": "m", "prompts": str(prompts), "circle": circle})
    return Round(config, folder / "round-1", str(folder / "feedback.db"), "m", folder / "round-1" / "prompts")


def test_a_stage_is_done_once_and_again_when_its_inputs_change(tmp_path):
    at, calls = round_in(tmp_path), []

    def make(_):
        calls.append(1)
        (at.folder / "reward").mkdir()
        return {"accuracy": len(calls)}

    assert once(at, "reward", ["a"], make)["accuracy"] == 1
    assert once(at, "reward", ["a"], make)["accuracy"] == 1
    assert once(at, "reward", ["b"], make)["accuracy"] == 2
    assert len(calls) == 2


CHANGES = {
    "none": ({}, []),
    "eval": ({"eval": {"temperature": 0.5}}, ["evaluation"]),
    "reward": ({"reward": [{"function": "f.py:f"}]}, ["policy", "evaluation"]),
    "kl": ({"ppo": {"kl_coef": 0.5}}, ["policy", "evaluation"]),
    "model": ({"model": "other"}, STAGES[1:]),
    "length": ({"ppo": {"response_length": 9}}, STAGES[1:]),
    "seed": ({"seed": 5}, STAGES),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reaches_every_later_stage_even_if_counts_stay_the_same(tmp_path, monkeypatch, change):
    made = []
    for stage, function in zip(STAGES, FUNCTIONS, strict=True):
        monkeypatch.setattr(circle, function, lambda at, stage=stage: made.append(stage) or {"count": 1})
    monkeypatch.setattr(circle, "finish", lambda at, done: {})
    more, expected = CHANGES[change]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": "Once"}, {"prompt": "Twice"}])
    settings = {"model": "m", "prompts": str(tmp_path / "prompts.jsonl")}
    run_circle(build_config(settings), tmp_path / "out")
    assert made == STAGES
    made.clear()
    run_circle(build_config(settings | more), tmp_path / "out")
    assert made == expected


def test_other_prompts_and_another_last_round_are_noticed(tmp_path, monkeypatch):
    made = []
    for stage, function in zip(STAGES, FUNCTIONS, strict=True):
        monkeypatch.setattr(circle, function, lambda at, stage=stage: made.append(stage) or {"count": 1})
    monkeypatch.setattr(circle, "finish", lambda at, done: {})
    settings = {"model": "m", "prompts": str(tmp_path / "prompts.jsonl")}
    for text in ("Twice", "Thrice"):
        write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": "Once"}, {"prompt": text}])
        run_circle(build_config(settings), tmp_path / "out", rounds=2)
    assert made == STAGES * 4
    made.clear()
    run_circle(build_config(settings | {"ppo": {"kl_coef": 0.5}}), tmp_path / "out", rounds=2)
    assert made == [*STAGES[-2:], *STAGES[1:]]


def test_a_stage_that_was_cut_off_keeps_its_folder(tmp_path):
    at = round_in(tmp_path)

    def cut_off(_):
        (at.folder / "policy").mkdir()
        (at.folder / "policy" / "checkpoint").write_text("step 5")
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        once(at, "policy", ["a"], cut_off)
    went_on = once(at, "policy", ["a"], lambda at: {"found": (at.folder / "policy" / "checkpoint").read_text()})
    assert went_on["found"] == "step 5"


def test_judgements_given_before_the_page_was_closed_count(tmp_path, monkeypatch):
    """Ctrl-C after 3 of 5: going on asks for the other two."""
    at, asked = round_in(tmp_path, judgements=5), []
    prompt = Prompt("Once")
    one, two = Response(prompt.id, "a"), Response(prompt.id, "b")
    pair = Comparison(prompt.id, one.id, two.id)
    with Store.open(at.db, create=True) as store:
        store.add_prompts([prompt])
        store.add_responses([one, two])
        store.add_comparisons([pair])
        store.add_judgement(Judgement(pair.id, "earlier round", one.id, two.id, "left"))

    def serve(store, port, wanted, per_comparison):
        asked.append(wanted)
        for number in range(min(wanted, 3)):
            store.add_judgement(Judgement(pair.id, f"{len(asked)} {number}", one.id, two.id, "left"))
        if wanted > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("likelier.web.server.serve", serve)
    with pytest.raises(KeyboardInterrupt):
        circle.ask_people(at)
    assert circle.ask_people(at) == {"judgements": 5}
    assert circle.ask_people(at) == {"judgements": 5}
    assert asked == [5, 2]


def test_prompts_kept_out_are_the_same_in_every_round_and_never_worked_with(tmp_path):
    at = round_in(tmp_path, num_eval_prompts=3, num_prompts=5)
    assert split_prompts(at) == {"prompts": 5, "kept_out": 3}
    first = {prompt.text for prompt in read_prompts(at.prompts / "kept_out.jsonl")}
    split_prompts(at)
    assert {prompt.text for prompt in read_prompts(at.prompts / "kept_out.jsonl")} == first
    assert not first & {prompt.text for prompt in read_prompts(at.prompts / "train.jsonl")}
