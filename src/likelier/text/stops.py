"""Stop criteria of responses: end tokens of model and tokenizer, and stop strings."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.text.conversation import find_closing_token
from likelier.text.sampler import Sampling
from likelier.text.tokens import Prompts, decode_responses


class StopCriteria:
    """Decides when the responses to a batch of prompts have ended."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling, prompts: Prompts
    ) -> None:
        end_ids = end_token_ids(model, tokenizer) if sampling.end_token else []
        self.end_ids = torch.tensor(end_ids, dtype=torch.long, device=prompts.tokens.device)
        self.tokenizer, self.strings, self.prompts = tokenizer, sampling.stop_strings, prompts
        # A token that ends within a letter decodes to U+FFFD; what it holds shows only in the text around it.
        self.last_letters = {string[-1] for string in self.strings} | {"\ufffd"}
        self.may_complete_by_token: dict[int, bool] = {}

    def find_ended(
        self, token: Int[Tensor, " K"], tokens: Int[Tensor, "B T"], rows: Int[Tensor, " K"], step: int
    ) -> Bool[Tensor, " K"]:
        """True where the response in `rows` of the batch ends with the `token` sampled for it at `step`."""
        ended = torch.isin(token, self.end_ids)
        if self.strings:
            ended |= torch.tensor(self.find_stop_strings(tokens[rows, : step + 1], rows), device=token.device)
        return ended

    def find_stop_strings(self, tokens: Int[Tensor, "B N"], rows: Int[Tensor, " B"]) -> list[bool]:
        """True for each response with a stop string; decodes only where the last token may have completed one."""
        candidates = [row for row, last in enumerate(tokens[:, -1].tolist()) if self.may_complete(last)]
        texts = self.decode(tokens[candidates], rows[candidates])
        stopped = {row for row, text in zip(candidates, texts, strict=True) if self.cut_position(text) < len(text)}
        return [row in stopped for row in range(len(tokens))]

    def may_complete(self, token: int) -> bool:
        """True if a token contains the last character of a stop string, or part of a character."""
        if token not in self.may_complete_by_token:  # doubled: a leading blank is lost at the beginning of a text
            text = self.tokenizer.decode([token, token], skip_special_tokens=True)
            self.may_complete_by_token[token] = any(letter in text for letter in self.last_letters)
        return self.may_complete_by_token[token]

    def decode(
        self, tokens: Int[Tensor, "B N"], rows: Int[Tensor, " B"], lengths: Int[Tensor, " B"] | None = None
    ) -> list[str]:
        """Text of each response, stop strings included."""
        sizes = [tokens.shape[1]] * len(tokens) if lengths is None else lengths.tolist()
        masks = self.prompts.mask[rows].tolist()
        prompts = [
            [token for token, real in zip(row, mask, strict=True) if real]
            for row, mask in zip(self.prompts.tokens[rows].tolist(), masks, strict=True)
        ]
        responses = [row[:size] for row, size in zip(tokens.tolist(), sizes, strict=True)]
        return decode_responses(self.tokenizer, prompts, responses)

    def cut_position(self, text: str) -> int:
        """Index of the first stop string; the length of the text if there is none."""
        return min((start for string in self.strings if (start := text.find(string)) >= 0), default=len(text))


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """End tokens of the generation config (chat models have several), the tokenizer and its chat template."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = [configured] if isinstance(configured, int) else list(configured or [])
    return sorted({*ids, tokenizer.eos_token_id, find_closing_token(tokenizer)} - {None})
