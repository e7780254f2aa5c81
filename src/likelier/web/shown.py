"""Questions as people see them: ids, texts and addresses of media files, never who made them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from likelier.feedback.questions import Asked
from likelier.records import Comparison, Media, Message, Response, Text, list_pictures, to_plain_text
from likelier.records.messages import to_media
from likelier.web.ids import PageIds
from likelier.web.markdown import render_markdown


def find_media(prompts: Mapping[str, Text], responses: Iterable[Response]) -> dict[str, Media]:
    """Return the media files of responses and of their prompts, by hash."""
    found = dict[str, Media]()
    for response in responses:
        files = [to_media(picture) for picture in list_pictures(prompts[response.prompt_id])]
        found |= {media.sha256: media for media in (response.media, *files) if media}
    return found


def is_text(shown: Mapping[str, Any]) -> bool:
    """True if prompt and responses, as `describe_parts` returns them, are texts alone: what a reward model can read."""
    return not shown["media"] and not any("pictures" in turn for turn in shown["turns"] or ())


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


def describe_turn(turn: Message, query: str) -> dict[str, Any]:
    """Return a turn of a prompt, with the addresses of its pictures: one for each mark in its text."""
    pictures = [{"url": f"/media/{each['sha256']}{query}", "kind": each["kind"]} for each in turn.get("pictures", ())]
    return {"role": turn["role"], "content": turn["content"], **({"pictures": pictures} if pictures else {})}


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
    turns = None if isinstance(prompt, str) else [describe_turn(turn, query) for turn in prompt]
    return {"prompt": to_plain_text(prompt), "turns": turns, **texts, "html": html, "cut": cut, "media": media}
