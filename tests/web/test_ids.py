"""Ids on the page tell nothing: who knows prompt, text and a list of models cannot tell which of them it was."""

import json

import pytest

from likelier.feedback.store import Store
from likelier.web.app import create_app
from likelier.web.ids import PageIds, UnknownId
from page_visitors import add_pair, come_in


def test_ids_are_found_again_by_the_same_key_alone():
    ids = PageIds(b"k" * 32)
    ids.add(["0123456789abcdef"])
    shown = ids.hide("0123456789abcdef")
    # hashlib.blake2b(b"0123456789abcdef", digest_size=8, key=b"k" * 32)
    assert (shown, ids.find(shown)) == ("e7116b7fa1d681bb", "0123456789abcdef")
    assert PageIds(b"l" * 32).hide("0123456789abcdef") != shown
    for unknown in ("0123456789abcdef", "", shown.upper()):
        with pytest.raises(UnknownId, match="there is nothing of this id here"):
            ids.find(unknown)


def test_no_id_of_the_database_is_sent_to_people_or_taken_from_them(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        (pair,) = store.comparisons()
        app = create_app(store)
        ann, rita = come_in(app, "annotator"), come_in(app, "reviewer")
        stored = {pair.id, pair.prompt_id, pair.response_a, pair.response_b}
        question = ann.get("/question").json()
        given = {"choice": "left", "key": "0000-0001", "duration_seconds": 1.0}
        plain = {"comparison_id": pair.id, "left": pair.response_a, "right": pair.response_b}
        plain["ticket"] = question["ids"]["ticket"]
        guessed = ann.post("/judgements", json=plain | given)
        wrong = ann.post("/judgements", json=dict.fromkeys(plain, "0" * 16) | given)
        assert (guessed.status_code, guessed.text) == (wrong.status_code, wrong.text) == (422, wrong.text)
        replies = [ann.post("/judgements", json=question["ids"] | given), ann.get("/"), ann.get("/question")]
        rita.post("/judgements", json=rita.get("/question").json()["ids"] | given | {"choice": "right"})
        replies += [rita.get("/review/state"), rita.get("/review")]
        assert all(reply.status_code == 200 for reply in replies)
        sent = json.dumps(question) + "".join(reply.text for reply in replies)
        assert not [each for each in stored if each in sent]


def test_answers_kept_in_a_browser_fit_after_a_restart(tmp_path):
    answer = {"choice": "left", "key": "0000-0001", "duration_seconds": 1.0}
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        ann = come_in(create_app(store), "annotator")
        ids, cookies = ann.get("/question").json()["ids"], ann.cookies
    with Store.open(tmp_path / "f.db") as store:
        ann = come_in(create_app(store), None)
        ann.cookies = cookies
        assert ann.post("/judgements", json=ids | answer).status_code == 200
        assert len(store.judgements()) == 1
