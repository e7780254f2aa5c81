"""What many people at once come to: each comparison is judged by as many as were wanted."""

import threading
from collections import Counter

from likelier.feedback.accounts import Person
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response
from likelier.web.room import Room


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
                ids = {name: room.ids.find(each) for name, each in question["ids"].items()}
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
