"""Feedback of Open WebUI: thumbs, ratings, picks in the arena."""

from copy import deepcopy
from pathlib import Path

import pytest

from data_files import Line, assistant, user, write
from likelier.errors import DataError
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store


def message(name: str, parent: str | None, role: str, content: str, **more: object) -> Line:
    return {"id": name, "parentId": parent, "childrenIds": [], "role": role, "content": content} | more


HISTORY = [
    message("a", None, "user", "Hi"),
    message("b", "a", "assistant", "Hello.", model="one", modelIdx=0),
    message("c", "a", "assistant", "Go.", model="two", modelIdx=1),
    message("d", "b", "user", "Why?"),
    message("e", "d", "assistant", "So.", model="one"),
]
FEEDBACK = {
    "id": "f1",
    "user_id": "u1",
    "user": {"name": "Ann", "email": "ann@example.org"},
    "version": 0,
    "type": "rating",
    "data": {"rating": 1, "model_id": "one", "reason": "accurate", "comment": "", "details": {"rating": 9}},
    "meta": {"arena": False, "message_id": "e", "chat_id": "chat", "message_index": 4},
    "snapshot": {"chat": {"id": "chat", "chat": {"history": {"messages": {each["id"]: each for each in HISTORY}}}}},
    "created_at": 1760434499,
    "updated_at": 1760434499,
}


def feedback(rating: object, message_id: str, arena: bool) -> Line:
    record = deepcopy(FEEDBACK)
    record["data"] = {"rating": rating, "model_id": "one"}
    record["meta"] |= {"message_id": message_id, "arena": arena}
    return record


def test_a_thumb_and_a_rating_of_an_answer(store: Store, tmp_path: Path) -> None:
    counts = import_file(write(tmp_path / "a.jsonl", FEEDBACK), "open-webui", store)
    assert (counts.stored, counts.passed_over) == (2, ())
    rated = {each.rating.kind: each for each in store.rated_by_content()}
    thumb, scale = rated["thumbs"], rated["scale"]
    assert thumb.prompt.text == [user("Hi"), assistant("Hello."), user("Why?")]
    assert (thumb.response.text, thumb.response.model, thumb.rating.value) == ("So.", "one", 1.0)
    assert (thumb.rating.annotator, thumb.rating.created_at) == ("u1", "2025-10-14T09:34:59+00:00")
    assert thumb.rating.extra == {"open-webui": {"reason": "accurate"}}
    assert (scale.rating.value, scale.rating.extra["scale"]) == (9.0, [1, 10])


@pytest.mark.parametrize(
    ("rating", "rated", "choice"), [(1, "b", "left"), ("-1", "b", "right"), (1, "c", "right"), (-1, "c", "left")]
)
def test_a_pick_in_the_arena(store: Store, tmp_path: Path, rating: object, rated: str, choice: str) -> None:
    import_file(write(tmp_path / "a.jsonl", feedback(rating, rated, True)), "open-webui", store)
    (judged,) = store.judged()
    assert (judged.left.model, judged.right.model, judged.judgement.choice) == ("one", "two", choice)
    assert list(store.rated_by_content()) == []


def test_beside_others_out_of_the_arena_it_is_a_thumb(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", feedback(-1, "b", False)), None, store)
    (rated,) = store.rated_by_content()
    assert (rated.rating.kind, rated.rating.value, store.judgements()) == ("thumbs", 0.0, [])


def test_the_systems_prompt_comes_first(store: Store, tmp_path: Path) -> None:
    record = feedback(1, "b", False)
    record["snapshot"]["chat"]["chat"]["params"] = {"system": "Be kind."}
    import_file(write(tmp_path / "a.jsonl", record), "open-webui", store)
    assert store.prompts()[0].text == [{"role": "system", "content": "Be kind."}, user("Hi")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (FEEDBACK | {"snapshot": None}, "no `snapshot` with the chat's messages; export the feedback with its chats"),
        (feedback(1, "z", False), "the snapshot holds no answer 'z', which was rated"),
        (feedback(None, "b", False), "`rating` must be 1 or -1, got None"),
        (FEEDBACK | {"meta": None}, "`meta` must be an object"),
    ],
)
def test_a_bad_record(store: Store, tmp_path: Path, record: Line, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(write(tmp_path / "a.jsonl", record), "open-webui", store)
