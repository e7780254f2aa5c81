"""Questions as people see them: ids, texts and addresses of media files, never who made them."""

from collections.abc import Mapping, Sequence
from typing import Any

from likelier.feedback.questions import Asked
from likelier.records import Comparison, Response, Text, to_plain_text
from likelier.web.ids import PageIds
from likelier.web.markdown import render_markdown


def describe_question(
    question: Asked, shown: Sequence[str], prompt: Text, responses: Mapping[str, Response], ids: PageIds, query: str
) -> dict[str, Any]:
    """Return a question in the order in which its responses are shown, with the page's ids.

    `query` goes to the end of addresses. A comparison has the parts `left` and `right`, a response alone `response`,
    several `0`, `1` and so on.
    """
    asked, sides = ids.hide(question.id), [ids.hide(each) for each in shown]
    if isinstance(question, Comparison):
        named: dict[str, Any] = {"comparison_id": asked, "left": sides[0], "right": sides[1]}
        names = ["left", "right"]
    elif len(shown) == 1:
        named, names = {"response_id": asked}, ["response"]
    else:
        named, names = {"question_id": asked, "shown": sides}, [str(place) for place in range(len(shown))]
    parts = {name: responses[each] for name, each in zip(names, shown, strict=True)}
    return {"ids": named, "shown": describe_parts(prompt, parts, query)}


def describe_parts(prompt: Text, parts: Mapping[str, Response], query: str) -> dict[str, Any]:
    """Return a prompt and responses to it by their names on the page."""
    media = {
        name: {"url": f"/media/{response.media.sha256}{query}", "kind": response.media.kind}
        for name, response in parts.items()
        if response.media
    }
    texts = {name: response.text for name, response in parts.items()}
    html = {name: rendered for name, text in texts.items() if (rendered := render_markdown(text))}
    cut = [name for name, response in parts.items() if response.stop_reason == "length"]
    turns = prompt if isinstance(prompt, list) else None
    return {"prompt": to_plain_text(prompt), "turns": turns, **texts, "html": html, "cut": cut, "media": media}
