"""Sample several responses to each prompt, for people to compare."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from likelier.config import ModelDtype
from likelier.engines.server import Server, ask_server, draw_seeds
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler
from likelier.errors import DataError
from likelier.files import dump_line, list_file_states, read_log, stable_id, write_jsonl
from likelier.progress import print_note, progress
from likelier.records import (
    MEDIA_KINDS,
    Message,
    Picture,
    Prompt,
    Response,
    Text,
    list_pictures,
    read_prompts,
    to_parts,
)
from likelier.records.media import MEDIA_FOLDER, copy_verified
from likelier.records.messages import to_media
from likelier.runs.folder import find_model
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import load_tokenizer
from likelier.text.prompts import check_prompts
from likelier.text.sampler import Sampler, Samples, Sampling, draw_uniforms
from likelier.training.setup import pick_device, seeded_generator

OFTEN_CUT = 0.1
"""Share of responses cut at the length limit above which it is said."""
PromptWithResponses = tuple[Prompt, list[Response]]


def write_candidates(  # noqa: PLR0913  # the options of `likelier candidates`
    model: str,
    prompts: Path,
    k: int,
    out: Path,
    response_length: int = 256,
    temperature: float = 1.0,
    stop_strings: Sequence[str] = (),
    batch_size: int = 64,
    seed: int = 0,
    device: str = "auto",
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    use_generation_config: bool = False,
    bf16: bool = False,
    part: Path | None = None,
    template_kwargs: Mapping[str, Any] = {},
    model_dtype: ModelDtype = "float32",
    source: EngineSettings | Server | None = None,
    prefixes: Sequence[Prompt] = (),
) -> dict[str, Any]:
    """Write `k` responses to each prompt to a JSONL file of the `likelier` format, whole or not at all.

    Imported into a database (`feedback.formats.import_file`), every pair of responses to a prompt becomes a comparison.
    Returns the numbers of prompts and responses. `source`: vLLM or a server writes them; `prefixes`: see
    `add_prefixes`. ConfigError, DataError: a prompt file, model folder or setting that cannot be used.

    Batches that are done stand in `part` (by default beside `out`, with `.part` behind its name) until all are: after a
    kill the same command goes on from there, to the same file.
    """
    read = read_prompts(prompts)
    sampling = Sampling(response_length, temperature, tuple(stop_strings), True, bf16, top_k, top_p, min_p)
    part = part or out.with_name(f"{out.name}.part")
    size = max(1, batch_size // k)
    asked = [[prompt.text, prompt.conversation, prompt.extra] for prompt in read]
    more = [dict(template_kwargs)] * bool(template_kwargs) + [[each.text for each in prefixes]] * bool(prefixes)
    others = [*([model_dtype] if model_dtype != "float32" else []), *([source.name] if source else [])]
    settings = [vars(sampling), use_generation_config, size, seed, *more, *others]
    folders = dict.fromkeys((model, find_model(model)))  # an adapter and its base
    states = [state for folder in folders for state in list_file_states(Path(folder))]
    key = stable_id([model, states], asked, k, *settings)
    done = read_part(part, key, size)
    how = use_generation_config, template_kwargs, model_dtype, source, prefixes
    sampled = sample_responses(model, read, k, sampling, batch_size, seed, device, len(done), *how)
    copy_pictures(read, out)
    records = [*done, *append_to_part(part, key, done, map(format_line, sampled))]
    write_jsonl(out, records)
    part.unlink(missing_ok=True)
    cut = sum(each["stop_reason"] == "length" for record in records for each in record["responses"])
    if cut > OFTEN_CUT * k * len(read):
        print_note(
            f"often_cut: {cut:,} of {k * len(read):,} responses were cut at {response_length} tokens; "
            "raise --response-length (ppo.response_length of a circle)"
        )
    return {"prompts": len(read), "responses": k * len(read)}


def read_part(part: Path, key: str, size: int) -> list[dict[str, Any]]:
    """Return the records of the batches of `size` prompts that are done; none if they were made from anything else."""
    lines = read_log(part) if part.is_file() else []
    if not lines or lines[0] != {"candidates": key}:
        return []
    return lines[1 : 1 + (len(lines) - 1) // size * size]


def append_to_part(
    part: Path, key: str, done: Sequence[dict[str, Any]], records: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Write records to `part`, behind those that are `done`, as they come, and yield them."""
    first = next(records, None)
    if first is None:
        return
    write_jsonl(part, [{"candidates": key}, *done, first])
    yield first
    with part.open("a", encoding="utf-8") as file:
        for record in records:
            file.write(dump_line(record) + "\n")
            file.flush()
            yield record


def sample_responses(  # noqa: PLR0913
    name: str,
    prompts: Sequence[Prompt],
    k: int,
    sampling: Sampling,
    batch_size: int,
    seed: int,
    device: str,
    start: int = 0,
    use_generation_config: bool = False,
    template_kwargs: Mapping[str, Any] = {},
    model_dtype: ModelDtype = "float32",
    source: EngineSettings | Server | None = None,
    prefixes: Sequence[Prompt] = (),
) -> Iterator[PromptWithResponses]:
    """Sample about `batch_size` responses at once; yields each prompt, from number `start` on, with its responses.

    ConfigError, DataError: the model cannot be sampled, or a prompt leaves no room for a response.
    """
    if isinstance(source, Server):
        how = use_generation_config, template_kwargs, prefixes
        yield from ask_for_responses(source, prompts[start:], k, sampling, batch_size, seed, *how)
        return
    model, tokenizer = load_policy(name, pick_device(device), model_dtype), load_tokenizer(name, template_kwargs)
    asked = [each for prompt in prompts for each in add_prefixes(prompt, prefixes)]
    check_prompts(model, tokenizer, asked, sampling.response_length, "--response-length")
    sampling = sampling.with_generation_config(model) if use_generation_config else sampling
    sampler: Sampler = ExactSampler(model, tokenizer, batch_size)
    if source:
        sampler = VLLMSampler(model, tokenizer, source._replace(rows=batch_size))
    size = max(1, batch_size // k)
    with progress("candidates", len(prompts)) as job:
        job.skip(start)
        for first in range(start, len(prompts), size):
            batch = prompts[first : first + size]
            generator = seeded_generator(seed, first, "candidates", model.device)
            draws = draw_uniforms(generator, k * len(batch), sampling.response_length, model.device)
            samples = sampler.sample(list_texts(batch, k, prefixes), sampling, draws)
            yield from group_by_prompt(batch, samples, name, k)
            job.advance(len(batch))


def ask_for_responses(  # noqa: PLR0913
    server: Server,
    prompts: Sequence[Prompt],
    k: int,
    sampling: Sampling,
    batch_size: int,
    seed: int,
    use_generation_config: bool = False,
    template_kwargs: Mapping[str, Any] = {},
    prefixes: Sequence[Prompt] = (),
) -> Iterator[PromptWithResponses]:
    """Ask a server for `k` responses to each prompt, about `batch_size` at a time; yields each prompt with its own.

    ConfigError, LikelierError: see `ask_server`.
    """
    size = max(1, batch_size // k)
    for first in range(0, len(prompts), size):
        batch = prompts[first : first + size]
        texts = list_texts(batch, k, prefixes)
        # Seeded by the prompts: a run that goes on after a kill asks for what the first would have asked for.
        generator = seeded_generator(seed, 0, f"candidates {stable_id(texts)}")
        seeds = draw_seeds(generator, len(texts))
        answers = iter(ask_server(server, texts, sampling, seeds, use_generation_config, template_kwargs))
        for prompt in batch:
            yield (
                prompt,
                [
                    Response(prompt.id, answer.text, server.model, answer.stop_reason)
                    for answer in itertools.islice(answers, k)
                ],
            )


def list_texts(prompts: Sequence[Prompt], k: int, prefixes: Sequence[Prompt]) -> list[Text]:
    """Return the text that each response is drawn from: `k` for a prompt, in turn those of `add_prefixes`."""
    shared = [[each.text for each in add_prefixes(prompt, prefixes)] for prompt in prompts]
    return [texts[index % len(texts)] for texts in shared for index in range(k)]


def add_prefixes(prompt: Prompt, prefixes: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompt as it is, and behind the messages of each prefix; two system messages become one.

    A prefix is an instruction or a few exchanges as they should be. Responses that were drawn differently differ more
    in what people look at, and so teach more; the prefix is not stored, and the model learns to do without (Askell et
    al. 2021, context distillation). DataError: the prompt is a text, which has no messages.
    """
    if not prefixes:
        return [prompt]
    if isinstance(prompt.text, str):
        raise DataError(
            f"{prompt.source or '--prompts'}: a text has no messages to put a prefix before; leave out --prefix"
        )
    system, turns = split_system(prompt.text)
    found = [prompt]
    for prefix in prefixes:
        first, examples = split_system(prefix.text)
        both = "\n\n".join([*first, *system])
        head = [Message(role="system", content=both)] if both else []
        found.append(replace(prompt, text=[*head, *examples, *turns]))
    return found


def split_system(text: Text) -> tuple[list[str], list[Message]]:
    """Return the system message's content, none or one, and the other messages."""
    assert not isinstance(text, str)
    is_first = bool(text) and text[0]["role"] == "system"
    return [each["content"] for each in text[:is_first]], list(text[is_first:])


def group_by_prompt(prompts: Sequence[Prompt], samples: Samples, name: str, k: int) -> Iterator[PromptWithResponses]:
    """Each prompt with its `k` samples as responses of the model `name`."""
    for index, prompt in enumerate(prompts):
        rows = range(index * k, (index + 1) * k)
        yield prompt, [Response(prompt.id, samples.texts[row], name, samples.stop_reasons[row]) for row in rows]


def name_picture(picture: Picture) -> str:
    """The path of a picture's copy, as seen from the file of the candidates."""
    return f"{MEDIA_FOLDER}/{picture['sha256']}{MEDIA_KINDS[picture['kind']]}"


def copy_pictures(prompts: Iterable[Prompt], out: Path) -> None:
    """Copy the prompts' pictures to a folder beside the file that names them, as exports do."""
    pictures = {picture["sha256"]: picture for prompt in prompts for picture in list_pictures(prompt.text)}
    for picture in pictures.values():
        target = out.parent / name_picture(picture)
        if not target.is_file():
            copy_verified(Path(picture["path"]), target, to_media(picture))


def format_line(sampled: PromptWithResponses) -> dict[str, Any]:
    """A prompt with its responses as a record of the `likelier` format."""
    prompt, responses = sampled
    record = {
        "schema_version": 1,
        "record": "responses",
        "prompt": to_parts(prompt.text, name_picture),
        "conversation": prompt.conversation,
        "responses": [{"text": each.text, "model": each.model, "stop_reason": each.stop_reason} for each in responses],
    }
    return record | {"prompt_extra": prompt.extra} if prompt.extra else record
