"""Prompts with pictures: the plain forward of transformers is the measure, on two families of models."""

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from likelier.errors import ConfigError, DataError
from likelier.files import write_jsonl
from likelier.records import read_prompts, to_parts
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import load_tokenizer, save_model
from likelier.text.pictures import PictureInputs, PromptPictures, join_padded
from likelier.text.prompts import check_prompts
from likelier.text.sampler import Sampling, draw_uniforms, join_samples
from likelier.text.tokens import encode_prompts
from media_files import image
from tiny import save_tiny_model
from vision_models import FAMILIES, ask, open_pictures, save_llava, write_prompts


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def world(request, tmp_path_factory):
    """Model folder, model, tokenizer and prompts of one family."""
    folder = tmp_path_factory.mktemp(request.param)
    path = FAMILIES[request.param](folder / "model")
    return path, load_policy(path), load_tokenizer(path), read_prompts(write_prompts(folder))


def sample(model, tokenizer, prompts, rows=None, length=6):
    draws = draw_uniforms(torch.Generator().manual_seed(3), len(prompts), length, "cpu")
    sampler = ExactSampler(model, tokenizer, rows)
    return sampler.sample([prompt.text for prompt in prompts], Sampling(length, end_token=False), draws)


def plain_logprobs(path, prompt, response):
    """Log-probabilities of a response by transformers alone: its processor, its model, one row."""
    processor, model = AutoProcessor.from_pretrained(path), AutoModelForImageTextToText.from_pretrained(path).eval()
    inputs = processor.apply_chat_template(
        open_pictures(to_parts(prompt.text)),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    tokens = torch.cat([inputs.pop("input_ids"), response[None]], 1)
    inputs["attention_mask"] = torch.ones_like(tokens)
    with torch.no_grad():
        logits = model(input_ids=tokens, **inputs).logits[0, -len(response) - 1 : -1]
    logits[:, processor.image_token_id] = -torch.inf  # which no response may hold
    return logits.log_softmax(-1).gather(1, response[:, None])[:, 0]


def test_sampler_and_trainer_read_pictures_as_the_plain_forward_does(world):
    """Masks, positions and which picture belongs to which row: rows of several lengths, a text alone among them."""
    path, model, tokenizer, prompts = world
    rows = [*prompts, prompts[0], prompts[2]]
    samples = sample(model, tokenizer, rows)
    trained, _ = compute_response_logprobs(
        model, samples.prompt_tokens, samples.prompt_mask, samples.tokens, samples.mask, 1.0, pictures=samples.pictures
    )
    expected = torch.stack([plain_logprobs(path, *each) for each in zip(rows, samples.tokens, strict=True)])
    torch.testing.assert_close(trained, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(samples.logprobs, expected, rtol=0, atol=1e-5)


def test_a_picture_changes_what_is_said(world):
    """Pixels reach the model: the same tokens with another picture have other log-probabilities."""
    _, model, tokenizer, prompts = world
    samples = sample(model, tokenizer, [prompts[2], prompts[2]])
    other = encode_prompts(tokenizer, [prompts[0].text, prompts[2].text], 500).pictures
    swapped = PictureInputs(
        [samples.pictures.rows[0], PromptPictures(("other",), flip(samples.pictures.rows[1].tensors))],
        other.token,
        other.type_names,
    )
    parts = (samples.prompt_tokens, samples.prompt_mask, samples.tokens[[0, 0]], samples.mask)
    same, changed = compute_response_logprobs(model, *parts, 1.0, pictures=swapped)[0]
    assert (same - changed).abs().max() > 1e-3


def flip(tensors):
    return {name: -tensor if name == "pixel_values" else tensor for name, tensor in tensors.items()}


def test_answers_depend_neither_on_the_batch_nor_on_who_shares_the_prompt(world):
    """One row at a time gives the same tokens; two pictures under one text are two prompts."""
    _, model, tokenizer, prompts = world
    rows = [prompts[0], prompts[2], prompts[0], prompts[1]]
    together, alone = sample(model, tokenizer, rows), sample(model, tokenizer, rows, rows=1)
    assert torch.equal(together.tokens, alone.tokens)
    both = join_samples([together, sample(model, tokenizer, [prompts[3]])], [2, 0, 1, 3, 4])
    assert [row.names for row in both.pictures.rows] == [
        tuple(p["sha256"] for turn in rows[at].text for p in turn["pictures"]) for at in (1, 2, 0, 3)
    ] + [()]


def test_no_response_holds_a_token_that_stands_for_a_picture(world):
    """However likely the model finds it; else the trainer would look for one picture more."""
    _, model, tokenizer, prompts = world
    token = tokenizer.convert_tokens_to_ids("<image>")
    head = model.get_output_embeddings()
    kept = head.weight.detach().clone()
    try:
        with torch.no_grad():
            head.weight[token] = 100 * head.weight.abs().max()
        samples = sample(model, tokenizer, prompts, length=8)
        assert not (samples.tokens == token).any()
        assert torch.isfinite(samples.logprobs).all()
    finally:
        with torch.no_grad():
            head.weight.copy_(kept)


def test_a_saved_model_is_loaded_with_its_processor(world, tmp_path):
    """By transformers, and by Likelier."""
    path, model, tokenizer, prompts = world
    save_model(tmp_path / "saved", model, tokenizer, "A test.")
    assert "AutoModelForImageTextToText" in (tmp_path / "saved" / "README.md").read_text()
    before = sample(model, tokenizer, prompts[:1])
    again = sample(load_policy(tmp_path / "saved"), load_tokenizer(tmp_path / "saved"), prompts[:1])
    assert torch.equal(before.tokens, again.tokens)
    assert torch.equal(
        plain_logprobs(path, prompts[0], before.tokens[0]),
        plain_logprobs(tmp_path / "saved", prompts[0], again.tokens[0]),
    )


def test_all_prompts_are_checked_before_the_first_step(world):
    _, model, tokenizer, prompts = world
    longest = check_prompts(model, tokenizer, prompts, 8, "--response-length")
    lengths = [encode_prompts(tokenizer, [each.text], 500).tokens.shape[1] for each in prompts]
    assert longest == max(lengths)
    line = 1 + lengths.index(longest)
    with pytest.raises(DataError, match=f"prompts.jsonl:{line}: the prompt has {longest} tokens"):
        check_prompts(model, tokenizer, prompts, 8, "--response-length", longest - 1)


def test_smaller_tensors_are_filled_with_zeros():
    joined = join_padded([torch.ones(1, 2, 1), torch.full((2, 1, 2), 5.0)])
    assert joined.tolist() == [[[1, 0], [1, 0]], [[5, 5], [0, 0]], [[5, 5], [0, 0]]]


@pytest.fixture
def llava(tmp_path):
    return load_policy(save_llava(tmp_path / "model")), load_tokenizer(tmp_path / "model")


def read_one(folder, prompt):
    write_jsonl(folder / "p.jsonl", [{"prompt": prompt}])
    return read_prompts(folder / "p.jsonl")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (image("red")[:60], "p.jsonl:1: the prompt: .* cannot be read as a picture"),
        (image("red", size=(8000, 7000)), "8000 x 7000 pixels, at most 50,000,000 fit"),
    ],
    ids=["cut", "large"],
)
def test_a_file_that_is_no_usable_picture_is_one_line(tmp_path, llava, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        check_prompts(*llava, read_one(tmp_path, ask("a.png")), 8, "x")
    assert "\n" not in str(caught.value)
    caught.match(reason)


def test_a_text_that_holds_the_token_of_a_picture_is_refused(tmp_path, llava):
    (tmp_path / "a.png").write_bytes(image())
    with pytest.raises(DataError, match="2 places for 1 pictures"):
        check_prompts(*llava, read_one(tmp_path, ask("a.png", "What is <image>?")), 8, "x")


def test_a_model_of_texts_refuses_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(image())
    path = save_tiny_model(tmp_path / "model", ["a"])
    with pytest.raises(DataError, match="model: reads no pictures, and a prompt has one; give a vision-language model"):
        check_prompts(load_policy(path), load_tokenizer(path), read_one(tmp_path, ask("a.png")), 8, "x")


def test_a_model_that_places_pictures_otherwise_is_refused(tmp_path, llava, monkeypatch):
    """Where decoding behind a picture has other positions than the full pass, nothing is sampled."""
    (tmp_path / "a.png").write_bytes(image())
    monkeypatch.setattr("likelier.text.cached_decode.compute_position_ids", lambda mask: mask.long().cumsum(1) * 2)
    with pytest.raises(ConfigError, match="llava: cannot be sampled behind pictures"):
        check_prompts(*llava, read_one(tmp_path, ask("a.png")), 8, "x")


def test_a_model_that_fails_behind_a_picture_is_one_line(tmp_path, llava, monkeypatch):
    (tmp_path / "a.png").write_bytes(image())
    monkeypatch.setattr(PictureInputs, "join", lambda self, tokens: {"pixel_values": tokens})
    with pytest.raises(ConfigError, match=r"llava: cannot be sampled behind pictures; give another .* \(\w+Error: "):
        check_prompts(*llava, read_one(tmp_path, ask("a.png")), 8, "x")
