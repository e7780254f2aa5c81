"""An HTTP service as a source of scores."""

import json
from typing import Any

from likelier.addresses import fill_secrets
from likelier.distributed import broadcast
from likelier.errors import ConfigError, LikelierError
from likelier.records import to_parts
from likelier.reward.parse_scores import parse_scores
from likelier.reward.responses import ResponseBatch, Source, SourceScores, score_all
from likelier.services.post import post

MAX_BYTES, MAX_BYTES_PER_RESPONSE = 1 << 20, 1 << 10
"""Bytes of an answer: a MiB, and a KiB for each response. A number takes 25; an endless answer must not fill memory."""


def http_source(address: str) -> Source:
    """A service that answers POST `{"prompts", "responses"}` with `{"scores"}`; `"columns": {name: [...]}` is added if
    the prompts have any. With several processes rank 0 asks for the whole batch.

    ConfigError: not a web address, or a variable in it is not set.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"reward service `{address}`: give an address that begins with http:// or https://")
    filled = fill_secrets(address)

    def score(batch: ResponseBatch) -> SourceScores:
        return score_all(broadcast(lambda: ask_service(filled, batch), len(batch.texts)))

    return score


def ask_service(address: str, batch: ResponseBatch) -> Any:
    """Return the service's scores [B]. LikelierError: no answer, or not one finite score per response."""
    request: dict[str, Any] = {
        "prompts": [to_parts(prompt.text) for prompt in batch.prompts],
        "responses": list(batch.texts),
    }
    if batch.columns:
        request["columns"] = batch.columns
    max_bytes, name = MAX_BYTES + MAX_BYTES_PER_RESPONSE * len(batch.texts), f"reward service {address}"
    answer = post(address, json.dumps(request).encode(), max_bytes, name)
    if not isinstance(answer, dict) or "scores" not in answer:
        raise LikelierError(f"reward service {address}: the answer has no `scores`")
    return parse_scores(answer["scores"], len(batch.texts), f"reward service {address}")
