"""A response to one prompt whose text is shown while it is sampled."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from likelier.records import Text
from likelier.text.models import UNLIMITED, context_length, silence_transformers
from likelier.text.sampler import Sampling
from likelier.text.stops import end_token_ids
from likelier.text.tokens import encode_prompts

HALF_LETTER = "\ufffd"
"""What a token that ends within a letter decodes to."""


class TextStream(BaseStreamer):
    """Hands on the text of a response as its tokens come, up to a stop string, letters only once they are whole."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stop_strings: tuple[str, ...], show: Callable[[str], object]
    ) -> None:
        self.tokenizer, self.stop_strings, self.show = tokenizer, stop_strings, show
        self.tokens: list[int] = []
        self.shown = 0
        """Characters that were handed on."""
        self.has_prompt = False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt first, then one token after the other."""
        if not self.has_prompt:
            self.has_prompt = True
            return
        self.tokens += value.flatten().tolist()
        text = self.text.rstrip(HALF_LETTER)
        # What may be the beginning of a stop string waits.
        self.hand_on(text[: len(text) - max((len(string) - 1 for string in self.stop_strings), default=0)])

    def end(self) -> None:
        """Hand on what has waited."""
        self.hand_on(self.text)

    def hand_on(self, text: str) -> None:
        """Show what is new of a text."""
        if len(text) > self.shown:
            self.show(text[self.shown :])
            self.shown = len(text)

    @property
    def text(self) -> str:
        """The response so far, cut before a stop string."""
        text = self.decode()
        return text[: min((at for string in self.stop_strings if (at := text.find(string)) >= 0), default=len(text))]

    def decode(self) -> str:
        """Return the text of all tokens."""
        return str(self.tokenizer.decode(self.tokens, skip_special_tokens=True))

    def has_stopped(self, tokens: torch.Tensor, scores: object) -> torch.Tensor:
        """Say that a stop string is there, as `generate` asks; its own way refuses tokenizers of words."""
        text = self.decode() if self.stop_strings else ""
        return torch.full((len(tokens),), any(string in text for string in self.stop_strings), device=tokens.device)


def seed_stream(seed: int) -> None:
    """Set the random numbers that streamed responses are drawn from."""
    torch.manual_seed(seed)


@torch.no_grad()
def stream_response(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Text,
    sampling: Sampling,
    show: Callable[[str], object],
) -> str:
    """Sample a response to a prompt, hand each piece of its text to `show`, and return the whole.

    It is drawn by transformers' `generate` from torch's own random numbers: where each token's number must be known,
    there is `ExactSampler`. Fewer than `response_length` tokens are drawn where the model can read no more. DataError:
    see `encode_prompts`.
    """
    context = context_length(model)
    prompts = encode_prompts(tokenizer, [prompt], min(UNLIMITED, context - 1))
    tokens, mask = (each.to(model.device) for each in (prompts.tokens, prompts.mask))
    ends = end_token_ids(model, tokenizer) if sampling.end_token else []
    config = GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_k=sampling.top_k or 0,
        top_p=1.0 if sampling.top_p is None else sampling.top_p,
        max_new_tokens=min(sampling.response_length, context - tokens.shape[1]),
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
    )
    stream = TextStream(tokenizer, sampling.stop_strings, show)
    generate: Any = model.generate
    with silence_transformers():
        generate(
            tokens,
            attention_mask=mask.long(),
            generation_config=config,
            streamer=stream,
            stopping_criteria=[stream.has_stopped],
        )
    return stream.text
