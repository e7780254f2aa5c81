"""Stages are done once, made anew when their inputs change, and numbers reach the picture."""

import contextlib

from likelier.circle import Round, once, split_prompts
from likelier.config import build_config
from likelier.records import read_prompts, write_jsonl


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

    assert once(at, "reward", ["a"], make) == {"accuracy": 1}
    assert once(at, "reward", ["a"], make) == {"accuracy": 1}
    assert once(at, "reward", ["b"], make) == {"accuracy": 2}
    assert len(calls) == 2


def test_a_stage_that_was_cut_off_keeps_its_folder(tmp_path):
    at = round_in(tmp_path)

    def cut_off(_):
        (at.folder / "policy").mkdir()
        (at.folder / "policy" / "checkpoint").write_text("step 5")
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        once(at, "policy", ["a"], cut_off)
    assert once(at, "policy", ["a"], lambda at: {"found": (at.folder / "policy" / "checkpoint").read_text()}) == {
        "found": "step 5"
    }


def test_prompts_kept_out_are_the_same_in_every_round_and_never_worked_with(tmp_path):
    at = round_in(tmp_path, num_eval_prompts=3, num_prompts=5)
    assert split_prompts(at) == {"prompts": 5, "kept_out": 3}
    first = {prompt.text for prompt in read_prompts(at.prompts / "kept_out.jsonl")}
    split_prompts(at)
    assert {prompt.text for prompt in read_prompts(at.prompts / "kept_out.jsonl")} == first
    assert not first & {prompt.text for prompt in read_prompts(at.prompts / "train.jsonl")}
