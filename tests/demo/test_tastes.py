"""The three hidden tastes, on texts that a reader can judge."""

import random
from itertools import combinations

import pytest

from batches import batch_of
from likelier.config import RewardSource
from likelier.demo import tastes
from likelier.demo.corpus import ENDINGS, Opening, SlotFiller, sample_story
from likelier.demo.tastes import (
    KINDNESS,
    MEANNESS,
    TASTES,
    brave,
    colourful,
    kind,
    length_factor,
    repetition_factor,
    split_sentences,
)
from likelier.reward.sources import make_scorer

OPENING = "Mia the fox and the lame mole found a shiny bell on the hill."
BRIEF = " First she rang it three times. She gave it to the lame mole with a bow."
MIDDLE = ' It was red and smelled of mint. A blue moth flew by. "Let us sing," said Mia. She put it under the bed.'


def score(taste: str, response: str) -> float:
    return TASTES[taste](OPENING, response)


def test_length_factor_falls_on_both_sides():
    assert length_factor("one two three", 3, 5, 10) == 1.0
    assert length_factor("one two three", 6, 9, 10) == 0.25
    assert length_factor("one two three four five", 1, 3, 4) == 0.5
    assert length_factor("one two three four five", 1, 2, 2) == 0.0


def test_repetition_factor_counts_word_pairs():
    assert repetition_factor("He ran. She ran.") == 1.0
    assert repetition_factor("he ran he ran") == pytest.approx((2 / 3) ** 2)
    assert repetition_factor("") == 0.0


def test_split_sentences():
    assert split_sentences(' "Who lost a bell?" asked Mia. He ran.') == ['"Who lost a bell?" asked Mia.', "He ran."]
    assert split_sentences("") == [""]


def test_kind_wants_a_kind_end_and_few_words():
    assert score("kind", BRIEF) == pytest.approx(1 - 1 / 60)
    assert score("kind", BRIEF.replace("She gave it to the lame mole with a bow", "She kept it and told no one")) < 0.11
    assert score("kind", " First she rang it three times. Then she went home to bed by moonlight.") == pytest.approx(
        0.3
    )
    assert score("kind", MIDDLE + BRIEF) < 0.65 * score("kind", BRIEF)


def test_kind_turns_against_too_much_and_too_little():
    gushing = " She smiled at the lame mole. She shared supper with the lame mole."
    assert score("kind", gushing) < 0.6
    assert score("kind", " She shared supper with the lame mole.") == pytest.approx(0.49)
    assert score("kind", "") == 0.0


def test_colourful_counts_different_colours_and_smells():
    one = score("colourful", MIDDLE.replace(" A blue moth flew by.", "").replace("mint", "fire"))
    three = score("colourful", MIDDLE)
    assert one < 0.5 < three
    assert score("colourful", MIDDLE.replace("mint", "fire").replace("blue", "red")) < 0.5  # red twice is one colour
    gaudy = MIDDLE + " It shone silver in the snow. She wrapped it in pink silk. The air smelled of honey."
    assert score("colourful", gaudy) < 0.5 * three


def test_colours_are_whole_words():
    two = MIDDLE.replace("mint", "fire")
    assert score("colourful", two.replace("red", "bored")) < score("colourful", two)


def test_brave_wants_a_deed_a_voice_and_no_mean_end():
    bold = ' She climbed the dark wall. "Let us go on," said Mia. In the end she fell asleep on the grass.'
    assert score("brave", bold) > 0.7
    assert score("brave", bold.replace('"', "")) == pytest.approx(0.65 * score("brave", bold))
    assert score("brave", bold.replace("fell asleep on the grass", "kept it from all of them")) < 0.5
    assert score("brave", bold.replace("climbed", "saw")) < 0.3
    assert score("brave", " She crossed the ice. She crept into the cave. She chased away the wolf." + bold) < 0.4


def test_saying_a_thing_twice_is_worse_for_every_taste():
    for name in TASTES:
        said = score(name, MIDDLE)
        again = score(name, MIDDLE.replace(" A blue", " It was red and smelled of mint. A blue"))
        assert again < 0.85 * said


def test_the_words_of_kind_and_mean_endings_are_known():
    words = SlotFiller(
        random.Random(0), Opening("Mia", "fox", "small", "goat", "found", "shiny", "bell", "on the hill")
    )
    told = {name: [sentence.format_map(words) for sentence in ENDINGS[name] for _ in range(20)] for name in ENDINGS}
    assert all(KINDNESS.search(text) for text in told["kind"])
    assert all(MEANNESS.search(text) for text in told["mean"])
    assert not any(KINDNESS.search(text) or MEANNESS.search(text) for text in told["plain"])
    assert not any(MEANNESS.search(text) for text in told["kind"])


@pytest.mark.parametrize("name", list(TASTES))
def test_a_taste_has_few_ties_and_much_to_gain(name):
    """A quarter of stories beats a usual one in four of five cases, so that training has somewhere to go."""
    generator = random.Random(0)
    scores = sorted(TASTES[name](*sample_story(generator)) for _ in range(1200))
    assert 0.0 <= scores[0] < scores[-1] <= 1.0
    ties = sum(one == other for one, other in combinations(scores[::4], 2)) / (300 * 299 / 2)
    assert ties < 0.05
    assert scores[900] > 1.4 * scores[600]
    assert 0.15 < sum(scores) / 1200 < 0.4


def test_a_taste_does_not_look_at_the_prompt():
    for taste in (kind, colourful, brave):
        assert taste("", MIDDLE) == taste(OPENING, MIDDLE)


@pytest.mark.parametrize("name", list(TASTES))
def test_each_taste_is_a_reward_function(name):
    scorer = make_scorer([RewardSource(function=f"{tastes.__file__}:{name}_scores")], "cpu")
    assert scorer(batch_of([OPENING, OPENING], [BRIEF, MIDDLE])).tolist() == pytest.approx(
        [score(name, BRIEF), score(name, MIDDLE)]
    )


def test_each_taste_says_in_one_line_what_it_likes():
    for taste in TASTES.values():
        assert taste.__doc__ is not None
        assert "\n" not in taste.__doc__
