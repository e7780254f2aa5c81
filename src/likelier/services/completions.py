"""Completions of OpenAI's protocol: chat completions for messages, completions for a text that is continued."""

import json
import re
import threading
from collections.abc import Callable, Collection
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from likelier.addresses import fill_secrets
from likelier.errors import LikelierError
from likelier.services.post import post

MAX_BYTES = 1 << 20
"""Of an answer: a model that thinks aloud writes some ten thousand letters."""
TIMEOUT_SECONDS, RETRY_SECONDS = 120.0, 2.0
Kind = Literal["chat/completions", "completions"]


def make_poster(
    http: str, name: str, options: dict[str, Any], droppable: Collection[str], seconds: float = TIMEOUT_SECONDS
) -> Callable[[Kind, dict[str, Any]], dict[str, Any]]:
    """Return a function from a kind of completion and a request to the first of its `choices`, with `usage` beside it.

    `http` is the address in front of the kind, `https://HOST/v1`; `name` is the service's in errors. `options` are
    sent with each request; one of `droppable` is left out from then on where the service refuses it. ConfigError: a
    variable of the address is not set. LikelierError, when it is asked: no answer, or not one of this protocol.
    """
    parts, sent_options, lock = urlsplit(fill_secrets(http)), dict(options), threading.Lock()

    def ask(kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        path = parts.path.rstrip("/")
        path = path if path.endswith(f"/{kind}") else f"{path}/{kind}"
        while True:
            sent = dict(sent_options)
            body = json.dumps(request | sent).encode()
            try:
                answer = post(urlunsplit(parts._replace(path=path)), body, MAX_BYTES, name, seconds, RETRY_SECONDS)
                break
            except LikelierError as error:
                with lock:  # another thread may have been refused the same in the meantime
                    if sent_options == sent and not drop_refused(sent_options, str(error), droppable):
                        raise
        return read_choice(answer, kind, name)

    return ask


def read_choice(answer: Any, kind: Kind, name: str) -> dict[str, Any]:
    """Return the first choice of an answer, its `text`, and `usage`. LikelierError: it has none."""
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"] if kind == "chat/completions" else choice["text"]
    except (KeyError, IndexError, TypeError):
        wanted = "choices[0].message.content" if kind == "chat/completions" else "choices[0].text"
        raise LikelierError(f"{name}: the answer has no {wanted}; is it {kind.replace('/', ' ')}?") from None
    text = text if isinstance(text, str) else ""  # a refusal has none
    return {**choice, "text": text, "usage": answer.get("usage") or {}}


def drop_refused(options: dict[str, Any], reason: str, droppable: Collection[str]) -> bool:
    """Leave out the option that a service refuses (status 400 or 422), or give it the name that it wants; False: none.

    Reasoning models take no `temperature`, and `max_completion_tokens` in the place of `max_tokens`.
    """
    if not re.search(r"status (400|422)\b", reason):
        return False
    if "max_tokens" in options and "max_tokens" in reason:
        options["max_completion_tokens"] = options.pop("max_tokens")
        return True
    for option in droppable:
        if option in options and option in reason:
            del options[option]
            return True
    return False
