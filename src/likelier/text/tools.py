"""Tools that a model calls in its text: `<calc>12*7</calc>`, with the tool's answer put behind the call.

The model writes the call token by token, the answer is written for it: its tokens are read by the model, and are no
actions of the policy. A tool is called in the process that decodes the response, once for each call.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from likelier.errors import ConfigError, LikelierError
from likelier.text.tokens import Prompts, decode_responses
from likelier.userfile import find_function, user_code_errors


class Tools:
    """The functions that a model may call, by the name that it writes: `<name>argument</name>`."""

    def __init__(self, import_strings: Sequence[str]) -> None:
        """Import the functions. ConfigError: one cannot be found, or two have the same name."""
        self.labels: dict[str, str] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        for each in import_strings:
            name = each.rpartition(":")[2]
            if name in self.functions:
                raise ConfigError(f"tools: two functions are called `{name}`; a model could not tell them apart")
            self.functions[name] = find_function(each, "tool")
            self.labels[name] = f"tool `{each}`"
        names = "|".join(map(re.escape, self.functions))
        # The last opening before the closing mark: a call that was begun and left does not swallow the next one.
        self.pattern = re.compile(rf"<(?P<name>{names})>(?P<argument>(?:(?!<(?P=name)>).)*?)</(?P=name)>", re.DOTALL)

    def answer(self, text: str) -> str | None:
        """The answer to the first call in a text; None if it holds none. LikelierError: the function raises, or returns
        something else than a text."""
        call = self.pattern.search(text)
        if call is None:
            return None
        label = self.labels[call["name"]]
        with user_code_errors(label, LikelierError):
            answer = self.functions[call["name"]](call["argument"])
        if not isinstance(answer, str):
            raise LikelierError(f"{label}: returned {answer!r:.60} for {call['argument']!r:.60}; return a text")
        return answer


class ToolCalls:
    """Calls in the responses to one batch of prompts, while they are decoded."""

    def __init__(self, tools: Tools, tokenizer: PreTrainedTokenizerBase, prompts: Prompts) -> None:
        self.tools, self.tokenizer, self.prompts = tools, tokenizer, prompts
        self.starts = [0] * len(prompts.tokens)
        """Column behind the last answer in each response: what stands before it has been looked at."""
        self.waiting: dict[int, list[int]] = {}
        """Tokens of answers that are still to be written, by row of the batch."""
        self.closes: dict[int, bool] = {}
        """True for tokens that may complete a call: they hold a `>`."""

    def write_answers(self, token: Int[Tensor, " K"], rows: Int[Tensor, " K"]) -> Bool[Tensor, " K"]:
        """Replace the drawn token, in place, where an answer is being written; True there."""
        written = [row in self.waiting for row in rows.tolist()] if self.waiting else [False] * len(rows)
        for place, row in enumerate(rows.tolist()):
            if written[place]:
                token[place] = self.waiting[row].pop(0)
                if not self.waiting[row]:
                    del self.waiting[row]
        return token.new_tensor(written).bool()

    def find_calls(
        self, token: Int[Tensor, " K"], tokens: Int[Tensor, "B T"], rows: Int[Tensor, " K"], step: int
    ) -> None:
        """Call the tools where `token`, drawn at `step`, completes a call; the answers are written from then on."""
        candidates = [row for row, last in zip(rows.tolist(), token.tolist(), strict=True) if self.may_close(last)]
        for row in candidates:
            answer = self.tools.answer(self.read_new(tokens[row].tolist(), row, step))
            if answer is None:
                continue
            written = self.encode(answer)
            self.starts[row] = step + 1 + len(written)
            if written:
                self.waiting[row] = written

    def may_close(self, token: int) -> bool:
        """True if a token holds the last character of a call."""
        if token not in self.closes:
            self.closes[token] = ">" in self.tokenizer.decode([token, token], skip_special_tokens=True)
        return self.closes[token]

    def read_new(self, tokens: list[int], row: int, step: int) -> str:
        """Text that a model has written behind the last answer."""
        prompt = self.prompts.tokens[row][self.prompts.mask[row]].tolist()
        start = self.starts[row]
        return decode_responses(self.tokenizer, [prompt + tokens[:start]], [tokens[start : step + 1]])[0]

    def encode(self, answer: str) -> list[int]:
        """Tokens of an answer behind a `>`. What reads like a special token, such as an end, is plain text in it."""
        options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True}
        mark, joined, alone = (self.tokenizer(text, **options)["input_ids"] for text in (">", f">{answer}", answer))
        tokens: list[int] = alone
        # Together with the mark before it: sentencepiece tokenizers put a blank before the beginning of a text.
        if joined[: len(mark)] == mark and decode_responses(self.tokenizer, [mark], [joined[len(mark) :]]) == [answer]:
            tokens = joined[len(mark) :]
        return tokens
