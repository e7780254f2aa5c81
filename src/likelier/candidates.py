"""Candidates: a model writes several responses to each prompt, for people to compare."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.progress import progress
from likelier.records import Prompt, Response, read_prompts
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import context_length, load_tokenizer
from likelier.text.sampler import Samples, Sampling, draw_uniforms
from likelier.text.tokens import encode_prompts
from likelier.training.setup import pick_device, seeded_generator

Answered = tuple[Prompt, list[Response]]


def write_candidates(  # noqa: PLR0913  # the options of `likelier candidates`
    model: str,
    prompts: Path,
    k: int,
    out: Path,
    response_length: int = 64,
    temperature: float = 1.0,
    stop_strings: Sequence[str] = (),
    batch_size: int = 64,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """`k` responses to each prompt in a JSONL file of the `likelier` format, written whole or not at all.

    When a database reads it (`feedback.formats.import_file`), every pair of responses becomes a comparison. Returns how
    many prompts and responses. ConfigError, DataError: a prompt file, model folder or setting that cannot be used.
    """
    asked = read_prompts(prompts)
    sampling = Sampling(response_length, temperature, tuple(stop_strings))
    answered = answers(model, asked, k, sampling, batch_size, seed, device)
    write_jsonl(out, map(line, answered))
    return {"prompts": len(asked), "responses": k * len(asked)}


def answers(
    name: str, prompts: Sequence[Prompt], k: int, sampling: Sampling, batch_size: int, seed: int, device: str
) -> Iterator[Answered]:
    """Each prompt with its responses, about `batch_size` responses sampled at once."""
    model, tokenizer = load_policy(name, pick_device(device)), load_tokenizer(name)
    limit = context_length(model) - sampling.response_length
    if limit < 1:
        raise ConfigError(f"a response length of {sampling.response_length} leaves no room in the model's context")
    encode_prompts(tokenizer, [prompt.text for prompt in prompts], limit)  # a prompt too long is named at once
    sampler = ExactSampler(model, tokenizer, batch_size)
    size = max(1, batch_size // k)
    with progress("candidates", len(prompts)) as job:
        for first in range(0, len(prompts), size):
            part = prompts[first : first + size]
            generator = seeded_generator(seed, first, "candidates", model.device)
            draws = draw_uniforms(generator, k * len(part), sampling.response_length, model.device)
            samples = sampler.sample([each.text for each in part for _ in range(k)], sampling, draws)
            yield from grouped(part, samples, name, k)
            job.advance(len(part))


def grouped(prompts: Sequence[Prompt], samples: Samples, name: str, k: int) -> Iterator[Answered]:
    """Samples by the prompt they answer."""
    for at, prompt in enumerate(prompts):
        rows = range(at * k, (at + 1) * k)
        yield prompt, [Response(prompt.id, samples.texts[row], name, samples.stop_reasons[row]) for row in rows]


def line(answered: Answered) -> dict[str, Any]:
    """A prompt with its responses as a record of the `likelier` format."""
    prompt, responses = answered
    record = {
        "schema_version": 1,
        "record": "responses",
        "prompt": prompt.text,
        "conversation": prompt.conversation,
        "responses": [{"text": each.text, "model": each.model, "stop_reason": each.stop_reason} for each in responses],
    }
    return record | {"prompt_extra": prompt.extra} if prompt.extra else record
