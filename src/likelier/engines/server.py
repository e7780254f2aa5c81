"""Answers from a server that speaks OpenAI's protocol: `vllm serve`, `transformers serve`, or a model that is for rent.

Messages are asked for as chat completions, and the server's chat template writes them out; a text prompt is continued
by completions. Each response has a request and a seed of its own.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from likelier.addresses import hide_secrets
from likelier.errors import ConfigError
from likelier.records import Text, list_pictures
from likelier.services.completions import Kind, make_poster
from likelier.services.together import run_together
from likelier.text.sampler import Sampling

TIMEOUT_SECONDS = 600.0
"""Of one answer: a busy server lets some wait."""


class Server(NamedTuple):
    """A model on a server."""

    http: str
    """Address in front of `/completions`, `https://HOST/v1`; `${NAME}` in it is a variable of the environment."""
    model: str
    """Name of the model there."""
    concurrency: int = 16
    """Requests under way at once."""

    @property
    def name(self) -> str:
        """The server in errors and notes."""
        return f"server {hide_secrets(self.http)}"


class Answer(NamedTuple):
    """A response as a server wrote it."""

    text: str
    stop_reason: str
    """`end_token`, `stop_string`, `length`, or the server's own word."""
    num_tokens: int | None
    """As the server counts them; None if it does not say."""


def check_askable(prompts: Sequence[Text], sampling: Sampling) -> None:
    """ConfigError: something that this protocol has no word for."""
    if any(map(list_pictures, prompts)):
        raise ConfigError("server: is asked texts only, and a prompt has a picture; give a model folder")
    if not sampling.end_token:
        raise ConfigError("server: stops at the end token of its model; stop_token: null is for model folders")


def ask_server(
    server: Server,
    prompts: Sequence[Text],
    sampling: Sampling,
    seeds: Sequence[int],
    own_sampling: bool = False,
    template_kwargs: Mapping[str, Any] = {},
) -> list[Answer]:
    """Return an answer to each prompt, sampled with its seed. `own_sampling`: with the server's own temperature, top-k,
    top-p and min-p.

    ConfigError: see `check_askable`. LikelierError: no answer after three retries, or a refusal.
    """
    check_askable(prompts, sampling)
    options: dict[str, Any] = {"model": server.model, "max_tokens": sampling.response_length}
    if not own_sampling:
        options |= {"temperature": sampling.temperature}
        limits = {"top_p": sampling.top_p, "top_k": sampling.top_k, "min_p": sampling.min_p}
        options |= {name: value for name, value in limits.items() if value is not None}
    options |= {"stop": list(sampling.stop_strings)} if sampling.stop_strings else {}
    options |= {"chat_template_kwargs": dict(template_kwargs)} if template_kwargs else {}
    ask = make_poster(server.http, server.name, options, (), TIMEOUT_SECONDS)

    def ask_one(prompt: Text, seed: int) -> Answer:
        return read_answer(ask(*make_request(prompt, seed)))

    calls = [partial(ask_one, *each) for each in zip(prompts, seeds, strict=True)]
    return run_together(calls, server.concurrency, server.model)


def draw_seeds(generator: torch.Generator, count: int) -> list[int]:
    """Draw seeds of 31 bits, which every server takes."""
    return torch.randint(1 << 31, (count,), generator=generator).tolist()


def make_request(prompt: Text, seed: int) -> tuple[Kind, dict[str, Any]]:
    """Return the kind of completion that a prompt asks for, and its own part of the request."""
    if isinstance(prompt, str):
        return "completions", {"prompt": prompt, "seed": seed}
    return "chat/completions", {"messages": prompt, "seed": seed}


def read_answer(choice: dict[str, Any]) -> Answer:
    """Read a choice; vLLM adds the `stop_reason` that tells a stop string from an end token."""
    reason = str(choice.get("finish_reason") or "")
    if reason == "stop":
        reason = "stop_string" if isinstance(choice.get("stop_reason"), str) else "end_token"
    count = choice["usage"].get("completion_tokens")
    return Answer(choice["text"], reason, count if isinstance(count, int) else None)
