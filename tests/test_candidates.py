"""Candidates: K responses to each prompt in a file that a database reads, whole or not at all."""

import json
import shutil

import pytest
import torch

from likelier import candidates
from likelier.candidates import write_candidates
from likelier.cli import main
from likelier.errors import ConfigError, DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.records import list_pictures, read_prompts
from likelier.services import completions
from likelier.text.exact_sampler import ExactSampler
from peft_folders import save_peft_adapter
from servers import FakeServer, serve
from tiny import save_tiny_model
from vision_models import save_llava
from vision_models import write_prompts as write_picture_prompts


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("candidates")
    save_tiny_model(folder / "model", words=["a", "b", "c", "d"], context=16)
    turns = [{"role": "user", "content": "c d"}]
    asked = [{"prompt": "a b"}, {"prompt": "b", "conversation": "talk-1"}, {"prompt": turns}]
    write_jsonl(folder / "prompts.jsonl", asked)
    return folder


def write(world, out, k=3, **settings):
    return write_candidates(
        str(world / "model"), world / "prompts.jsonl", k, out, **{"response_length": 5, "device": "cpu"} | settings
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_k_responses_to_each_prompt_in_their_order(world, tmp_path):
    assert write(world, tmp_path / "out.jsonl") == {"prompts": 3, "responses": 9}
    found = lines(tmp_path / "out.jsonl")
    assert [line["prompt"] for line in found] == ["a b", "b", [{"role": "user", "content": "c d"}]]
    assert [line["conversation"] for line in found] == ["", "talk-1", ""]
    assert [len(line["responses"]) for line in found] == [3, 3, 3]
    one = found[0]["responses"][0]
    assert one["model"] == str(world / "model")
    assert one["stop_reason"] in ("end_token", "length")
    assert len(one["text"].split()) <= 5


def test_the_seed_decides(world, tmp_path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        write(world, tmp_path / name, seed=seed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "same").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_half_precision_is_the_samplers(world, tmp_path, monkeypatch):
    seen, sample = [], ExactSampler.sample

    def spy(sampler, texts, sampling, draws):
        seen.append(sampling.bf16)
        return sample(sampler, texts, sampling, draws)

    monkeypatch.setattr(ExactSampler, "sample", spy)
    names = [
        "candidates",
        "--model",
        str(world / "model"),
        "--prompts",
        str(world / "prompts.jsonl"),
        "--device",
        "cpu",
    ]
    for number, more in enumerate(([], ["--bf16"])):
        assert main([*names, "-o", str(tmp_path / str(number)), "--response-length", "5", *more]) == 0
    assert seen == [False, True]


def test_weights_are_stored_as_asked_and_an_adapter_is_merged(world, tmp_path, monkeypatch):
    seen, load = [], candidates.load_policy
    monkeypatch.setattr(candidates, "load_policy", lambda *given: seen.append(load(*given)) or seen[-1])
    save_peft_adapter(world / "model", tmp_path / "adapter")
    names = ["candidates", "--prompts", str(world / "prompts.jsonl"), "--device", "cpu", "--response-length", "5"]
    for number, more in enumerate((["--model-dtype", "bfloat16"], [])):
        model = str(tmp_path / "adapter") if not more else str(world / "model")
        assert main([*names, "--model", model, "-o", str(tmp_path / str(number)), *more]) == 0
    stored, merged = (each.model.layers[0].mlp.up_proj for each in seen)
    assert (stored.weight.dtype, merged.weight.dtype) == (torch.bfloat16, torch.float32)
    own = load(str(world / "model"), "cpu").model.layers[0].mlp.up_proj.weight
    assert torch.equal(stored.weight, own.bfloat16())
    assert not torch.allclose(merged.weight, own)


def test_small_batches_still_answer_every_prompt(world, tmp_path):
    write(world, tmp_path / "out.jsonl", batch_size=2)  # fewer than k: one prompt at a time
    assert [len(line["responses"]) for line in lines(tmp_path / "out.jsonl")] == [3, 3, 3]


def test_a_database_reads_them_and_pairs_each_prompts_responses(world, tmp_path):
    write(world, tmp_path / "out.jsonl", k=4, seed=3)
    distinct = [len({each["text"] for each in line["responses"]}) for line in lines(tmp_path / "out.jsonl")]
    with Store.open(tmp_path / "feedback.db", create=True) as store:
        counts = import_file(tmp_path / "out.jsonl", "likelier", store)
        assert (counts.read, counts.judgements) == (3, 0)
        assert {prompt.conversation for prompt in store.prompts()} == {"", "talk-1"}
        assert len(store.comparisons()) == sum(n * (n - 1) // 2 for n in distinct)
        texts = {response.id: response.text for response in store.responses()}
        assert all(texts[pair.response_a] != texts[pair.response_b] for pair in store.comparisons())
        assert import_file(tmp_path / "out.jsonl", "likelier", store).stored == 0


def test_a_prompt_too_long_for_the_model_leaves_no_file(world, tmp_path):
    with pytest.raises(DataError, match=r"prompts.jsonl:1: the prompt has 3 tokens, at most 2"):
        write(world, tmp_path / "out.jsonl", response_length=14)
    with pytest.raises(ConfigError, match="--response-length: 16 does not fit"):
        write(world, tmp_path / "out.jsonl", response_length=16)
    assert list(tmp_path.iterdir()) == []


def test_columns_stay_with_the_prompt(world, tmp_path):
    asked = [{"prompt": "a", "reference": "b", "points": 2}, {"prompt": "b", "reference": None}]
    write_jsonl(tmp_path / "prompts.jsonl", asked)
    write_candidates(str(world / "model"), tmp_path / "prompts.jsonl", 2, tmp_path / "out.jsonl", 5, device="cpu")
    with Store.open(tmp_path / "feedback.db", create=True) as store:
        import_file(tmp_path / "out.jsonl", "likelier", store)
        extra = {prompt.text: prompt.extra for prompt in store.prompts()}
    assert extra == {"a": {"reference": "b", "points": 2}, "b": {"reference": None, "points": None}}
    write(world, tmp_path / "plain.jsonl")
    assert not any("prompt_extra" in line for line in lines(tmp_path / "plain.jsonl"))


def test_a_prefix_is_read_by_its_share_of_the_responses_and_not_stored(tmp_path, monkeypatch):
    save_tiny_model(tmp_path / "model", words=["a", "b", "short", "be", "kind"], context=48)
    ask, answer = {"role": "user", "content": "b b"}, {"role": "assistant", "content": "a"}
    system = [{"role": "system", "content": content} for content in ("be kind", "be short", "be short\n\nbe kind")]
    talks = [[{"role": "user", "content": "a"}], [system[0], {"role": "user", "content": "b"}]]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": talk} for talk in talks])
    write_jsonl(tmp_path / "prefix.jsonl", [{"prompt": [system[1]]}, {"prompt": [ask, answer]}])
    asked, sample = [], ExactSampler.sample
    monkeypatch.setattr(
        ExactSampler, "sample", lambda self, prompts, *rest: asked.extend(prompts) or sample(self, prompts, *rest)
    )
    options = ["--model", str(tmp_path / "model"), "--prompts", str(tmp_path / "prompts.jsonl"), "-k", "4"]
    options += ["--response-length", "4", "--prefix", str(tmp_path / "prefix.jsonl")]
    assert main(["candidates", *options, "-o", str(tmp_path / "out")]) == 0
    assert asked == [
        talks[0],
        [system[1], talks[0][0]],
        [ask, answer, talks[0][0]],
        talks[0],
        talks[1],
        [system[2], talks[1][1]],
        [system[0], ask, answer, talks[1][1]],
        talks[1],
    ]
    assert [line["prompt"] for line in lines(tmp_path / "out")] == talks


def test_prefixes_that_cannot_be_used(world, tmp_path, capsys):
    write_jsonl(one := tmp_path / "one.jsonl", [{"prompt": [{"role": "system", "content": "a"}]}])
    write_jsonl(text := tmp_path / "text.jsonl", [{"prompt": "a b"}])
    options = ["candidates", "--model", str(world / "model"), "--prompts", str(world / "prompts.jsonl")]
    options += ["-o", str(tmp_path / "out"), "--prefix"]
    for more, code, line in (
        ([str(one), "-k", "1"], 2, f"-k 1: too few to share among none and the 1 prefixes of {one}; give 2 or more"),
        ([str(text)], 3, f"{text}: 'a b': a text; give a list of messages as `prompt`"),
        (
            [str(one)],
            3,
            f"{world / 'prompts.jsonl'}:1: a text has no messages to put a prefix before; leave out --prefix",
        ),
    ):
        assert main([*options, *more]) == code
        assert capsys.readouterr().err.splitlines()[-1] == f"likelier: {line}"
    assert not (tmp_path / "out").exists()


def test_after_a_kill_it_goes_on_from_the_batches_that_are_done(world, tmp_path, monkeypatch):
    """The second of three batches fails: the first is not sampled again, and the file is the same in the end."""
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    write(world, whole, batch_size=3)
    sampled, sample = [], ExactSampler.sample

    def count(self, prompts, sampling, draws):
        sampled.append(prompts[0])
        if len(sampled) == 2:
            raise KeyboardInterrupt
        return sample(self, prompts, sampling, draws)

    monkeypatch.setattr(ExactSampler, "sample", count)
    with pytest.raises(KeyboardInterrupt):
        write(world, out, batch_size=3)
    assert not out.exists()
    with open(tmp_path / "out.jsonl.part", "a") as part:
        part.write('{"schema_version": 1, "rec')  # the kill came within a line
    write(world, out, batch_size=3)
    assert sampled[:3] == ["a b", "b", "b"]
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.jsonl.part").exists()


def test_batches_made_from_something_else_are_not_gone_on_with(world, tmp_path):
    write_jsonl(tmp_path / "out.jsonl.part", [{"candidates": "another key"}, {"prompt": "x"}])
    write(world, tmp_path / "out.jsonl")
    assert [line["prompt"] for line in lines(tmp_path / "out.jsonl")][:2] == ["a b", "b"]


@pytest.mark.parametrize(("length", "is_cut"), [(1, True), (14, False)])
def test_often_cut_is_said(world, tmp_path, capsys, monkeypatch, length, is_cut):
    monkeypatch.setattr("likelier.progress.plain_lines", True)
    write_jsonl(tmp_path / "one.jsonl", [{"prompt": "a"}])
    write_candidates(str(world / "model"), tmp_path / "one.jsonl", 30, tmp_path / "out", length, device="cpu", top_k=8)
    assert ("often_cut: " in capsys.readouterr().err) == is_cut


def test_prompts_with_pictures_go_to_a_database_and_back(tmp_path):
    """Candidates by a vision-language model; the pictures travel with their prompts, by what is in them."""
    prompts, model = write_picture_prompts(tmp_path / "data"), save_llava(tmp_path / "model")
    written = write_candidates(str(model), prompts, 2, tmp_path / "out" / "c.jsonl", response_length=4, device="cpu")
    assert written == {"prompts": 4, "responses": 8}
    read = read_prompts(prompts)
    with Store.open(tmp_path / "a.db", create=True) as store:
        assert import_file(tmp_path / "out" / "c.jsonl", "likelier", store).skipped == 0
        assert {each.id for each in store.prompts()} == {each.id for each in read}
        assert "path" not in json.dumps([each.text for each in store.prompts()])
        assert sorted(each.sha256 for each in store.media()) == sorted(
            picture["sha256"] for each in read for picture in list_pictures(each.text)
        )
        shutil.rmtree(tmp_path / "data")
        export_file(store, "likelier", tmp_path / "again" / "e.jsonl")
        export_file(store, "trl-prompts", tmp_path / "texts.jsonl")
    assert len((tmp_path / "texts.jsonl").read_text().splitlines()) == 1  # the prompt without a picture
    with Store.open(tmp_path / "b.db", create=True) as store:
        import_file(tmp_path / "again" / "e.jsonl", "likelier", store)
        assert {each.id for each in store.prompts()} == {each.id for each in read}
        assert all(store.media_folder.find(each).is_file() for each in store.media())
        export_file(store, "likelier", tmp_path / "third" / "e.jsonl")
    assert (tmp_path / "third" / "e.jsonl").read_bytes() == (tmp_path / "again" / "e.jsonl").read_bytes()


def test_a_model_on_a_server_writes_them(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(completions, "RETRY_SECONDS", 0.0)
    given = ["candidates", "--model", "fine", "--prompts", str(world / "prompts.jsonl"), "--json"]
    with serve(FakeServer(failures=1)) as address:
        assert main([*given, "--server", address, "-k", "3", "-o", str(tmp_path / "out.jsonl")]) == 0
        assert json.loads(capsys.readouterr().out) == {"prompts": 3, "responses": 9}
        found = lines(tmp_path / "out.jsonl")
        assert {each["text"][0] for each in found[0]["responses"]} == {"b"}
        assert [each["text"] for each in found[2]["responses"]] == ["user c d"] * 3
        assert found[0]["responses"][0] | {"text": ""} == {"text": "", "model": "fine", "stop_reason": "end_token"}
        again = ["--server", address, "-k", "3", "--batch-size", "3", "-o", str(tmp_path / "again.jsonl")]
        assert main([*given, *again]) == 0  # one prompt at a time
        assert len(lines(tmp_path / "again.jsonl")) == 3
        capsys.readouterr()
        missing = [*given, "--server", address, "-o", str(tmp_path / "none.jsonl")]
        missing[2] = "gone"
        assert main(missing) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"likelier: server {address}: status 404: The model `gone` does not exist." in err


def test_options_of_engines_and_servers_that_do_not_go_together(world, tmp_path, capsys):
    given = ["candidates", "--model", "fine", "--prompts", str(world / "prompts.jsonl"), "-o", str(tmp_path / "out")]
    given += ["--response-length", "4"]
    lines_by_options = {
        "--server host": "--server: host: give an address that begins with http:// or https://",
        "--server http://host --bf16": "--bf16: the model is at --server; leave it out",
        "--server http://host --sampler vllm": "--sampler: the model is at --server; leave it out",
        "--sampler other": "--sampler: other: give exact or vllm",
        "--engine-python x": "--engine-python: is of vLLM; give --sampler vllm",
        "--sampler vllm --engine-args [1]": "--engine-args: [1]: give a JSON object, such as",
        "--sampler vllm --engine-python nowhere": "no such file",
    }
    for options, line in lines_by_options.items():
        path = ["--model", str(world / "model")] if "nowhere" in options else []
        assert main([*given, *options.split(), *path]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert line in err
