from likelier.config import build_config
from likelier.files import write_jsonl
from likelier.plan.lengths import Lengths, measure_prompts
from tiny import save_tiny_model


def test_the_longest_of_some_drawn_at_random():
    """Of two drawn from 1 and 3 the longer is 3 in three of four cases."""
    lengths = Lengths([1, 3], 2)
    assert lengths.longest == 3
    assert lengths.expect_longest(1) == 2.0
    assert lengths.expect_longest(2) == 1 * 0.25 + 3 * 0.75


def test_prompts_of_a_file_are_counted_in_tokens(tmp_path):
    folder = save_tiny_model(tmp_path / "model", words=["a", "b"])
    (folder / "model.safetensors").unlink()
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": "a"}, {"prompt": "a b a"}, {"prompt": "a"}])
    lengths = measure_prompts(build_config({"model": str(folder), "prompts": str(tmp_path / "p.jsonl")}))
    assert (list(lengths.tokens), lengths.total, lengths.note) == ([2, 4], 2, "")  # each begins with a token of its own


def test_without_a_file_a_length_is_assumed_and_said():
    lengths = measure_prompts(build_config({"prompts": "nowhere.jsonl", "ppo": {"max_prompt_tokens": 99}}))
    assert (lengths.longest, lengths.total) == (99, None)
    assert lengths.note == "nowhere.jsonl is not there: prompts of 99 tokens are assumed"
