"""What many people at once come to: each comparison is judged by as many as were wanted."""

import threading
from collections import Counter
from itertools import combinations

from likelier.feedback.accounts import Person
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response
from likelier.web.app import create_app
from likelier.web.room import Room
from page_visitors import come_in


def test_fifty_people_at_once_judge_nothing_too_often(tmp_path):
    """BATTERY D9: the last ones are asked for by many at the same time."""
    with Store.open(tmp_path / "f.db", create=True) as store:
        with store.transaction() as writer:
            for number in range(30):
                prompt = Prompt(f"Story {number}.")
                pair = Response(prompt.id, "yes"), Response(prompt.id, "no")
                writer.add_prompts([prompt])
                writer.add_responses(pair)
                writer.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])
        room = Room(store, None, None, per_comparison=2)
        room.pairing.repeat_share = 0.0
        people = [Person(f"person-{number}", "", "annotator") for number in range(50)]
        start, failed = threading.Barrier(50), []

        def judge(person):
            start.wait()
            for number in range(1000):
                question = room.next_question(person)
                if question["done"]:
                    return
                ids = {name: room.ids.find(each) for name, each in question["ids"].items() if name != "ticket"}
                answer = Judgement(**ids, annotator="", choice="left", key=f"{number:08d}")
                room.store_answer(person, answer)
            failed.append(person)

        threads = [threading.Thread(target=judge, args=(person,)) for person in people]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        judged = Counter(judgement.comparison_id for judgement in store.judgements())
        pairs = Counter((judgement.comparison_id, judgement.annotator) for judgement in store.judgements())
        assert not failed
        assert max(judged.values()) <= 2
        assert max(pairs.values()) == 1
        assert room.count_missing() == 0


def test_own_answers_are_counted_without_a_look_at_the_database_and_others_by_one(tmp_path, monkeypatch):
    with Store.open(tmp_path / "f.db", create=True) as store:
        prompt = Prompt("Story.")
        texts = [Response(prompt.id, text) for text in "abcd"]
        pairs = [Comparison(prompt.id, one.id, two.id) for one, two in combinations(texts, 2)]
        with store.transaction() as writer:
            writer.add_prompts([prompt])
            writer.add_responses(texts)
            writer.add_comparisons(pairs)
        room, ann = Room(store, None, None, None), Person("ann", "", "annotator")
        looks, look = [], Store.shown_after
        monkeypatch.setattr(Store, "shown_after", lambda *given: looks.append(1) or look(*given))

        def answer(pair, key, **more):
            sides = pair.response_a, pair.response_b
            return room.add_answer(ann, Judgement(pair.id, "", *sides, "left", key=key, **more))

        for number, pair in enumerate(pairs[:3]):
            answer(pair, f"{number:08d}")
            assert room.update_pairing().num_judgements == number + 1
        answer(pairs[0], "00000000")  # once more the same
        answer(pairs[0], "00000009", supersedes="00000000")
        assert room.update_pairing().num_stored == 4
        assert looks == []
        store.add_judgement(Judgement(pairs[3].id, "bob", pairs[3].response_b, pairs[3].response_a, "tie"))
        answer(pairs[4], "00000010")  # bob's was not counted yet: both by a look
        assert room.update_pairing().num_stored == 6
        assert looks == [1]
        answer(pairs[5], "00000011")
        room.update_pairing()
        assert looks == [1]
        again = Room(store, None, None, None).pairing
        assert again.own == room.pairing.own
        assert [again.num_people, again.num_shown, again.excess_left, again.num_judgements] == [
            room.pairing.num_people, room.pairing.num_shown, room.pairing.excess_left, room.pairing.num_judgements
        ]  # fmt: skip


def sees(client):
    """What is on a screen, and what comes next."""
    question = client.get("/question").json()
    return [each["ids"] for each in (question, question["next"]) if each and each.get("ids")]


def restart(store, *browsers):
    """A new server on the same database, and the same browsers at it."""
    app = create_app(store, per_comparison=1)
    clients = [come_in(app, None) for _ in browsers]
    for client, browser in zip(clients, browsers, strict=True):
        client.cookies = browser.cookies
    return app, clients


def test_a_restart_gives_nobody_what_is_on_somebody_elses_screen_or_was_skipped(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        prompts = [Prompt(f"Story {number}.") for number in range(9)]
        pairs = [[Response(prompt.id, text) for text in ("yes", "no")] for prompt in prompts]
        store.add_prompts(prompts)
        store.add_responses(each for pair in pairs for each in pair)
        store.add_comparisons(Comparison(one.prompt_id, one.id, two.id) for one, two in pairs)
        app = create_app(store, per_comparison=1)
        ann, bob = come_in(app, "annotator"), come_in(app, "reviewer")
        skipped, first = sees(ann)
        assert ann.post("/skip", json={"comparison_id": skipped["comparison_id"]}).status_code == 200
        sent = {**first, "choice": "left", "key": "0000-0001", "duration_seconds": 1.0}
        assert ann.post("/judgements", json=sent).status_code == 200
        screens = sees(ann)[:1], sees(bob)  # what Ann was given after her last answer is not stored yet
        killed, (ann, bob) = restart(store, ann, bob)
        others = sees(come_in(killed, "admin"))
        assert not any(each in others for screen in screens for each in screen)
        assert (sees(ann)[:1], sees(bob)) == screens
        assert skipped not in sees(ann)
        screens = sees(ann), sees(bob), others
        killed.state.rooms.close()
        _, (ann, bob) = restart(store, ann, bob)
        assert (sees(ann), sees(bob)) == screens[:2]
