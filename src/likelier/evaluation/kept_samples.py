"""Batches of sampled responses on disk, so that an evaluation that was stopped goes on where it was."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.errors import DataError
from likelier.files import dump_line, list_file_states, make_parent, read_log, stable_id
from likelier.progress import print_note
from likelier.records import Text
from likelier.runs.folder import find_model
from likelier.text.padding import make_length_mask, pad_left
from likelier.text.sampler import Samples, Sampling

PART = "responses.part"
"""Name of the file, in the folder of an evaluation."""
FIELDS = {"key", "prompt_tokens", "tokens", "logprobs", "dtype", "stop_reasons", "texts", "inserted"}
"""Of a line of the file."""


class KeptSamples:
    """Finished batches in a JSONL file, each under a key of all that decides it: model, prompts, sampling, draws."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier process kept; a damaged file counts as none, since all of it can be sampled again."""
        self.path = path
        self.kept: dict[str, dict[str, Any]] = {}
        try:
            records = read_log(path) if path.is_file() else []
        except DataError:
            records = [{}]
        if any(record.keys() != FIELDS for record in records):
            path.unlink()
            return
        self.kept = {record["key"]: record for record in records}
        if records:
            print_note(f"{path}: goes on from {len(records):,} batches that are done")
            # A line that was cut off must not be continued.
            path.write_text("".join(dump_line(record) + "\n" for record in records), encoding="utf-8")

    def sample(
        self,
        model: str,
        prompts: Sequence[Text],
        sampling: Sampling,
        draws: Float[Tensor, "B T"],
        sample: Callable[[Sequence[Text], Sampling, Tensor], Samples],
        settings: Mapping[str, Any] = {},
    ) -> Samples:
        """Return the kept batch, or sample and keep it. `model` names the weights: a folder; `settings`: what else
        decides the responses."""
        drawn = hashlib.sha256(draws.cpu().numpy().tobytes()).hexdigest()
        more = [dict(settings)] * bool(settings)
        states = list_file_states(Path(model))
        states += list_file_states(Path(base)) if (base := find_model(model)) != model else []
        key = stable_id(model, states, list(prompts), vars(sampling), drawn, *more)
        if key in self.kept:
            return samples_from_json(self.kept[key], prompts, sampling.response_length, draws.device)
        samples = sample(prompts, sampling, draws)
        make_parent(self.path)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(dump_line({"key": key, **samples_to_json(samples)}) + "\n")
        return samples

    def remove(self) -> None:
        """Remove the file: the evaluation is written."""
        self.path.unlink(missing_ok=True)


def samples_to_json(samples: Samples) -> dict[str, Any]:
    """Return the real tokens of each row, without padding, and what else cannot be computed from them."""
    return {
        "prompt_tokens": take_real(samples.prompt_tokens, samples.prompt_mask),
        "tokens": take_real(samples.tokens, samples.mask),
        "logprobs": take_real(samples.logprobs, samples.mask),
        "dtype": str(samples.logprobs.dtype).removeprefix("torch."),
        "stop_reasons": samples.stop_reasons,
        "texts": samples.texts,
        "inserted": None if samples.inserted is None else take_real(samples.inserted, samples.mask),
    }


def take_real(values: Tensor, mask: Tensor) -> list[list[Any]]:
    """Return the values inside the mask, by row."""
    return [row[real].tolist() for row, real in zip(values.cpu(), mask.cpu(), strict=True)]


def samples_from_json(
    record: dict[str, Any], prompts: Sequence[Text], response_length: int, device: torch.device
) -> Samples:
    """Return the same samples again, to the bit."""
    prompt_tokens, prompt_mask = pad_left(record["prompt_tokens"])
    mask = make_length_mask(record["tokens"], response_length)

    def pad(name: str, dtype: torch.dtype) -> Tensor:
        real = torch.tensor([value for row in record[name] for value in row], dtype=dtype)
        return torch.zeros(mask.shape, dtype=dtype).masked_scatter(mask, real).to(device)

    return Samples(
        prompts=list(prompts),
        prompt_tokens=prompt_tokens.to(device),
        prompt_mask=prompt_mask.to(device),
        tokens=pad("tokens", torch.long),
        mask=mask.to(device),
        logprobs=pad("logprobs", getattr(torch, record["dtype"])),
        stop_reasons=record["stop_reasons"],
        texts=record["texts"],
        inserted=None if record["inserted"] is None else pad("inserted", torch.bool),
    )
