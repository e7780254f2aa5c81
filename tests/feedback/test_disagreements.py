"""A reviewer's decision settles a comparison, and is no vote."""

from likelier.feedback.check import check
from likelier.feedback.disagreements import find_disagreements
from likelier.feedback.store import Store
from likelier.preferences.make import make_preference, settle
from likelier.records import Comparison, Judgement, Prompt, Response


def fill(store):
    """Three comparisons: the votes on the first and the third differ, on the second only the sides do."""
    pairs = []
    for number in range(3):
        prompt = Prompt(f"Story {number}")
        one, two = Response(prompt.id, "yes"), Response(prompt.id, "no")
        pairs.append(Comparison(prompt.id, one.id, two.id))
        store.add_prompts([prompt])
        store.add_responses([one, two])
        store.add_comparisons(pairs[-1:])
        ann = Judgement(pairs[-1].id, "ann", one.id, two.id, "left")
        bob = Judgement(pairs[-1].id, "bob", two.id, one.id, "right" if number == 1 else "left")
        store.add_judgements([ann, bob])
    return pairs


def test_a_decision_replaces_the_votes_and_is_none(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        pairs = fill(store)
        with store.reading() as connection:
            assert find_disagreements(connection, "default", 9) == sorted([pairs[0].id, pairs[2].id])
            assert len(find_disagreements(connection, "default", 1)) == 1
        before = check(store.judged()).to_json()
        store.add_judgement(
            Judgement(pairs[0].id, "rita", pairs[0].response_a, pairs[0].response_b, "right", adjudicates=True)
        )
        with store.reading() as connection:
            assert find_disagreements(connection, "default", 9) == [pairs[2].id]
        judged = store.judged()
    assert check(judged).to_json() == before
    settled = settle(judged)
    assert [each.judgement.annotator for each in settled if each.judgement.comparison_id == pairs[0].id] == ["rita"]
    assert len(settled) == 5
    (decision,) = [each for each in settled if each.judgement.adjudicates]
    made = make_preference(decision, "group", 1.0, {})
    assert (made.chosen, made.rejected, made.flip) == ("no", "yes", 0.0)
