"""Pictures in prompts: what a vision-language model's processor makes of them, tokens and tensors.

The processor writes as many tokens into the prompt as the model has places for the picture, and gives the pixels, cut
and scaled, beside them. Pixels are kept once for each prompt, whoever answers it how often, and joined when a batch is
run.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional
from transformers import AutoProcessor, PreTrainedTokenizerBase

from likelier.errors import DataError
from likelier.records import Picture, Text, list_pictures
from likelier.text.conversation import TemplateText, shorten
from likelier.text.models import load_safely

MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
"""Pillow reads many others, which a prompt file may not hold."""
PROCESSORS: WeakKeyDictionary[PreTrainedTokenizerBase, Any] = WeakKeyDictionary()
"""Result of `find_processor` for each tokenizer."""


class PromptPictures(NamedTuple):
    """The pictures of one prompt, as the model reads them."""

    names: tuple[str, ...] = ()
    """SHA-256 of each; none where the prompt is a text alone."""
    tensors: Mapping[str, Tensor] = {}
    """The processor's, by name, such as `pixel_values`."""


@dataclass(frozen=True)
class PictureInputs:
    """The pictures of a batch of prompts: rows like those of a tensor, which an index takes."""

    rows: Sequence[PromptPictures]
    token: int
    """The token that stands for a part of a picture, in prompts only: no response holds it."""
    type_names: tuple[str, ...] = ()
    """Inputs `[B, N]` that are 1 at this token and 0 elsewhere."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Int[Tensor, " N"]) -> "PictureInputs":
        """Return the rows at `index`."""
        return PictureInputs([self.rows[row] for row in index.tolist()], self.token, self.type_names)

    def to(self, device: torch.device) -> "PictureInputs":
        """Return the same with all tensors on a device; prompts that several rows share are moved once."""
        moved = {
            id(row.tensors): {name: tensor.to(device) for name, tensor in row.tensors.items()} for row in self.rows
        }
        rows = [row._replace(tensors=moved[id(row.tensors)]) for row in self.rows]
        return PictureInputs(rows, self.token, self.type_names)

    def join(self, tokens: Int[Tensor, "B N"]) -> dict[str, Tensor]:
        """Return what the model reads beside `tokens`, which hold the same rows; nothing where no row has a picture."""
        used = [row.tensors for row in self.rows if row.names]
        if not used:
            return {}
        inputs = {name: join_padded([tensors[name] for tensors in used]) for name in used[0]}
        return inputs | {name: (tokens == self.token).long() for name in self.type_names}


def join_padded(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along the first dimension; in the others smaller ones are filled with zeros, as processors do."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    filled = []
    for tensor in tensors:
        missing = [most - size for most, size in zip(shape, tensor.shape[1:], strict=True)]
        filled.append(functional.pad(tensor, [each for size in reversed(missing) for each in (0, size)]))
    return torch.cat(filled)


def join_rows(parts: Sequence[tuple[PictureInputs | None, int]], order: Sequence[int]) -> PictureInputs | None:
    """Return the rows of batches, given with their sizes, at the places in `order`; None if there is no picture."""
    given = next((part for part, _ in parts if part is not None), None)
    if given is None:
        return None
    rows = [row for part, size in parts for row in (part.rows if part else [PromptPictures()] * size)]
    return PictureInputs([rows[place] for place in order], given.token, given.type_names)


def find_processor(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return the processor in the folder of a tokenizer, loaded once.

    DataError: the model reads texts only, or its processor needs a package that is not installed.
    """
    if tokenizer not in PROCESSORS:
        name = tokenizer.name_or_path
        with load_safely(name) as options:
            processor = AutoProcessor.from_pretrained(name, **options)
        parts = (getattr(processor, name, None) for name in ("image_processor", "image_token_id"))
        if any(part is None for part in parts):
            raise DataError(
                f"{name}: reads no pictures, and a prompt has one; give a vision-language model, such as LLaVA or "
                "SmolVLM, or take the picture out"
            )
        PROCESSORS[tokenizer] = processor
    return PROCESSORS[tokenizer]


def process_pictures(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Text],
    texts: Sequence[str],
    rows: list[list[int]],
    labels: Sequence[str],
) -> tuple[list[list[int]], PictureInputs | None]:
    """Return the tokens of prompts with those of their pictures, and the pictures; None if no prompt has one.

    `texts` are the rendered prompts, `rows` their tokens without; a prompt that stands several times is processed once.
    DataError: a picture that cannot be read, or a text that holds the token for one; `labels` names the prompts.
    """
    if not any(map(list_pictures, prompts)):
        return rows, None
    processor, type_names = find_processor(tokenizer), dict[str, None]()
    known: dict[tuple[str, ...], tuple[list[int], PromptPictures]] = {}
    joined, pictures = list(rows), [PromptPictures()] * len(rows)
    for number, prompt in enumerate(prompts):
        if not (used := list_pictures(prompt)):
            continue
        text, names = texts[number], tuple(picture["sha256"] for picture in used)
        if (text, *names) not in known:
            encoded = process(processor, tokenizer, text, used, f"{labels[number]}: {shorten(prompt)}")
            tokens = encoded.pop("input_ids")[0].tolist()
            encoded.pop("attention_mask", None)
            type_names |= dict.fromkeys(name for name in encoded if name.endswith("token_type_ids"))
            tensors = {name: value for name, value in encoded.items() if name not in type_names}
            known[text, *names] = tokens, PromptPictures(names, tensors)
        joined[number], pictures[number] = known[text, *names]
    return joined, PictureInputs(pictures, int(processor.image_token_id), tuple(type_names))


def process(
    processor: Any, tokenizer: PreTrainedTokenizerBase, text: str, pictures: Sequence[Picture], label: str
) -> dict[str, Tensor]:
    """Return what the processor makes of one prompt. DataError: see `process_pictures`."""
    if not isinstance(text, TemplateText):
        raise DataError(
            f"{label}: has a picture, and {tokenizer.name_or_path} has no chat template that says where it belongs; "
            "add a chat_template"
        )
    if (found := text.count(processor.image_token)) != len(pictures):
        raise DataError(
            f"{label}: {found} places for {len(pictures)} pictures; the chat template must write "
            f"{processor.image_token} for each, and no text may hold it"
        )
    images = [[open_picture(picture, label) for picture in pictures]]
    try:
        encoded = processor(text=[str(text)], images=images, return_tensors="pt", add_special_tokens=False)
    except (ValueError, TypeError, RuntimeError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{label}: the model's processor refuses its pictures: {reason}") from error
    return {name: value for name, value in encoded.items() if isinstance(value, Tensor)}


def open_picture(picture: Picture, label: str) -> Any:
    """Return a picture as Pillow's, upright and in RGB; of a GIF the first. DataError: it cannot be read."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError(f"{label}: pictures need the package pillow; install it") from error
    path = picture.get("path")
    if path is None:
        raise DataError(f"{label}: the file of picture {picture['sha256'][:8]} is not at hand")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, which are counted here
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} x {image.height}"
                    raise DataError(f"{label}: {path} has {size} pixels, at most {MAX_PIXELS:,} fit; make it smaller")
                return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{label}: {path} cannot be read as a picture ({' '.join(str(error).split())})") from error
