"""The simulated panel: determinism, vices, and judgements in the store."""

import random

from likelier.demo import panel as module
from likelier.demo.panel import draw_panel
from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response


def test_three_of_twelve_misbehave_in_different_ways_drawn_from_the_seed():
    one, same, other = draw_panel(1, "kind"), draw_panel(1, "kind"), draw_panel(2, "kind")
    assert [person.vice for person in one.annotators] == [person.vice for person in same.annotators]
    assert one.planted != other.planted or one.annotators != other.annotators
    vices = [person.vice for person in one.annotators if person.vice]
    assert len(one.annotators) == 12
    assert len(vices) == len(set(vices)) == 3
    assert sorted(person.id for person in one.annotators if person.vice) == one.planted


def test_the_honest_panel_is_the_same_people():
    vicious, honest = draw_panel(3, "kind"), draw_panel(3, "kind", honest=True)
    assert [person.id for person in honest.annotators] == [person.id for person in vicious.annotators]
    assert [person.accuracy for person in honest.annotators] == [person.accuracy for person in vicious.annotators]
    assert not any(person.vice for person in honest.annotators)
    assert all(person.accuracy > 0.8 for person in honest.annotators)


def fill_database(path, count):
    """Make a database with `count` comparisons of random text."""
    generator = random.Random(0)
    prompts = [Prompt(f"prompt {number}") for number in range(count)]
    store = Store.open(path, create=True)
    store.add_prompts(prompts)
    for prompt in prompts:
        pair = [
            Response(prompt.id, " He ran home." * generator.randrange(1, 5) + f" {generator.random()}", "m")
            for _ in "ab"
        ]
        store.add_responses(pair)
        store.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])
    return store


def test_judgements_are_marked_and_the_copy_asks_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "COMPARISONS", 40)
    with fill_database(tmp_path / "a.db", 60) as store:
        result = draw_panel(1, "kind").judge_store(store)
        judged = store.judged()
    assert result["judgements"] == len(judged) == 80
    assert all(item.judgement.simulated for item in judged)
    draw_panel(1, "kind", honest=True).judge_copy(str(tmp_path / "a.db"), tmp_path / "b.db")
    with Store.open(tmp_path / "b.db") as copy:
        assert {item.judgement.comparison_id for item in copy.judged()} == {
            item.judgement.comparison_id for item in judged
        }
