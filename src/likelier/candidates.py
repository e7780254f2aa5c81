"""Sample several responses to each prompt, for people to compare."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from likelier.files import write_jsonl
from likelier.progress import progress
from likelier.records import Prompt, Response, read_prompts
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import load_tokenizer
from likelier.text.prompts import check_prompts
from likelier.text.sampler import Samples, Sampling, draw_uniforms
from likelier.training.setup import pick_device, seeded_generator

PromptWithResponses = tuple[Prompt, list[Response]]


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
    """Write `k` responses to each prompt to a JSONL file of the `likelier` format, whole or not at all.

    Imported into a database (`feedback.formats.import_file`), every pair of responses to a prompt becomes a comparison.
    Returns the numbers of prompts and responses. ConfigError, DataError: a prompt file, model folder or setting that
    cannot be used.
    """
    read = read_prompts(prompts)
    sampling = Sampling(response_length, temperature, tuple(stop_strings))
    sampled = sample_responses(model, read, k, sampling, batch_size, seed, device)
    write_jsonl(out, map(format_line, sampled))
    return {"prompts": len(read), "responses": k * len(read)}


def sample_responses(
    name: str, prompts: Sequence[Prompt], k: int, sampling: Sampling, batch_size: int, seed: int, device: str
) -> Iterator[PromptWithResponses]:
    """Sample about `batch_size` responses at once; yields each prompt with its responses.

    ConfigError, DataError: the model cannot be sampled, or a prompt leaves no room for a response.
    """
    model, tokenizer = load_policy(name, pick_device(device)), load_tokenizer(name)
    check_prompts(model, tokenizer, prompts, sampling.response_length, "--response-length")
    sampler = ExactSampler(model, tokenizer, batch_size)
    size = max(1, batch_size // k)
    with progress("candidates", len(prompts)) as job:
        for first in range(0, len(prompts), size):
            batch = prompts[first : first + size]
            generator = seeded_generator(seed, first, "candidates", model.device)
            draws = draw_uniforms(generator, k * len(batch), sampling.response_length, model.device)
            samples = sampler.sample([each.text for each in batch for _ in range(k)], sampling, draws)
            yield from group_by_prompt(batch, samples, name, k)
            job.advance(len(batch))


def group_by_prompt(prompts: Sequence[Prompt], samples: Samples, name: str, k: int) -> Iterator[PromptWithResponses]:
    """Each prompt with its `k` samples as responses of the model `name`."""
    for index, prompt in enumerate(prompts):
        rows = range(index * k, (index + 1) * k)
        yield prompt, [Response(prompt.id, samples.texts[row], name, samples.stop_reasons[row]) for row in rows]


def format_line(sampled: PromptWithResponses) -> dict[str, Any]:
    """A prompt with its responses as a record of the `likelier` format."""
    prompt, responses = sampled
    record = {
        "schema_version": 1,
        "record": "responses",
        "prompt": prompt.text,
        "conversation": prompt.conversation,
        "responses": [{"text": each.text, "model": each.model, "stop_reason": each.stop_reason} for each in responses],
    }
    return record | {"prompt_extra": prompt.extra} if prompt.extra else record
