"""A person is erased with what they typed; what others typed, and all other answers, stay."""

import pytest
import sqlalchemy as sa

from likelier.feedback.projects import Gold, write_gold
from likelier.feedback.questions import conversation_id
from likelier.feedback.store import Store
from likelier.feedback.tables import skips, written
from likelier.records import Comparison, Judgement, Message, Prompt, Ranking, Rating, Response


def converse(store, *texts, author="", noted=True):
    """A conversation of these messages, each answered twice; returns the comparison of the last."""
    turns, comparison = [], None
    for text in texts:
        turns = [*turns, Message(role="user", content=text)]
        prompt = Prompt(turns, conversation_id(turns))
        pair = [Response(prompt.id, f"{side}, {text}", "m") for side in ("Yes", "No")]
        comparison = Comparison(prompt.id, pair[0].id, pair[1].id)
        with store.transaction() as writer:
            writer.add_prompts([prompt])
            writer.add_responses(pair)
            writer.add_comparisons([comparison])
            if noted:
                writer.add_written([prompt.id], author)
        turns = [*turns, Message(role="assistant", content=pair[0].text)]
    return comparison


def judge(store, comparison, annotator, key, **more):
    sides = comparison.response_a, comparison.response_b
    store.add_judgements([Judgement(comparison.id, annotator, *sides, "left", key=key, **more)])


def words(store):
    return sorted({turn["content"] for each in store.prompts() for turn in each.text if turn["role"] == "user"})


@pytest.mark.parametrize("noted", [True, False])
def test_conversations_go_whole_and_those_of_others_stay(tmp_path, noted):
    with Store.open(tmp_path / "f.db", create=True) as store:
        ann, bob = store.add_person("Ann"), store.add_person("Bob")
        mine = converse(store, "I am Ann of Bern.", "I live in Lane 7.", author=ann, noted=noted)
        others = converse(store, "I am Bob.", author=bob)
        judge(store, mine, ann, "one")
        judge(store, mine, bob, "two")
        judge(store, others, ann, "three")
        judge(store, others, bob, "four")
        with store.transaction() as writer:
            write_gold(writer, Gold(mine.id, "gold", mine.response_a))
        # Without a note, a message before the first pick cannot be told from one of somebody else.
        begun = [] if noted else [each for each in store.prompts() if len(each.text) == 1 and "Bern" in str(each.text)]
        for prompt in begun:
            first = next(each for each in store.comparisons() if each.prompt_id == prompt.id)
            judge(store, first, ann, "zero")
        erased = store.erase_person("ann")
        assert erased == ([ann], 0, 2, 2 + len(begun))
        assert words(store) == ["I am Bob."]
        assert [each.key for each in store.judgements()] == ["three", "four"]
        assert len(store.responses()) == 2
        with pytest.raises(Exception, match="only ever added"), store.transaction() as writer:
            writer.connection.execute(sa.text("DELETE FROM judgements"))
    assert b"Bern" not in (tmp_path / "f.db").read_bytes()


def test_a_message_that_two_people_typed_stays_for_the_other(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        ann, bob = store.add_person("Ann"), store.add_person("Bob")
        converse(store, "Hello", "I am Ann.", author=ann)
        converse(store, "Hello", "I am Bob.", author=bob)
        assert store.erase_person("Ann").prompts == 1
        assert words(store) == ["Hello", "I am Bob."]
        with store.reading() as connection:
            assert set(connection.execute(sa.select(written.c.annotator_id)).scalars()) == {bob}


def test_reasons_beside_all_kinds_of_answers_go_and_the_answers_stay(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        ann, pair = store.add_person("Ann"), converse(store, "Hello", noted=False)
        said, ids = {"tags": ["rude"], "comment": "since I am Ann"}, (pair.response_a, pair.response_b)
        with store.transaction() as writer:
            writer.add_judgements([Judgement(pair.id, "bob", *ids, "left", key="j", extra={"comment": "mine"})])
            writer.add_ratings([Rating(ids[0], ann, 3.0, key="r", extra={"scale": [1, 7], **said})])
            writer.add_rankings([Ranking(pair.prompt_id, ann, (ids,), ids, key="o", extra=said)])
            writer.insert(skips, [{"project": "default", "annotator_id": ann, "question_id": pair.id}])
        assert store.erase_person("Ann") == ([ann], 2, 0, 0)
        (rated,), (ranked,) = store.rated_by_content(), store.ranked_by_content()
        assert (rated.rating.extra, ranked.ranking.extra) == ({"scale": [1, 7], "tags": ["rude"]}, {"tags": ["rude"]})
        assert [each.extra for each in store.judgements()] == [{"comment": "mine"}]
        with store.reading() as connection:
            assert connection.execute(sa.select(skips)).all() == []
