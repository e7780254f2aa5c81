"""The demo's stories: training stories, held-out openings, and slots."""

import random
import re

from likelier.demo.corpus import (
    ENDINGS,
    MIDDLES,
    SLOTS,
    Opening,
    SlotFiller,
    choose_weighted,
    sample_opening,
    sample_openings,
    sample_response,
    sample_story,
)

MIA = Opening("Mia", "fox", "small", "goat", "found", "shiny", "bell", "on the hill")


def sample_stories(count: int) -> list[tuple[str, str]]:
    generator = random.Random(3)
    return [sample_story(generator) for _ in range(count)]


def test_an_opening_is_one_sentence():
    assert MIA.text == "Mia the fox and the small goat found a shiny bell on the hill."


def test_openings_are_different_and_follow_from_the_seed():
    first = sample_openings(0, 700)
    assert len(set(first)) == 700
    assert sample_openings(0, 300) == first[:300]
    assert len(set(first) & set(sample_openings(1, 700))) < 70


def test_no_opening_is_in_a_story_that_the_model_reads():
    read = {prompt for prompt, _ in sample_stories(3000)}
    assert not read & set(sample_openings(0, 3000))


def test_about_one_opening_in_eight_is_held_out():
    generator = random.Random(0)
    asked = [
        sample_opening(generator, held_out=False).held_out or sample_opening(generator, held_out=True).held_out
        for _ in "ab"
    ]
    assert asked == [True, True]


def test_words_of_one_story_agree():
    slots = SlotFiller(random.Random(0), MIA)
    texts = '"May I try it?" asked {friend}. {He} rang the {thing}. {Friend} saw {hero}.'.format_map(slots)
    assert texts == '"May I try it?" asked the small goat. She rang the bell. The small goat saw Mia.'


def test_an_article_fits_its_colour():
    slots = SlotFiller(random.Random(0), MIA)
    seen = {"{A_colour}".format_map(slots) for _ in range(300)}
    assert {"An orange", "A red"} <= seen
    assert "A orange" not in seen


def test_every_name_in_a_sentence_is_filled():
    slots = SlotFiller(random.Random(0), MIA)
    for sentences in (*MIDDLES.values(), *ENDINGS.values()):
        for sentence in sentences:
            texts = sentence.format_map(slots)
            assert re.search(r"[{}]", texts) is None
            assert texts[0] == '"' or texts[0].isupper()
            assert texts.endswith(".")
    used = set(re.findall(r"{([^}]+)}", str([MIDDLES, ENDINGS])))
    assert set(SLOTS) - {"colour"} <= used


def test_a_response_goes_on_where_the_opening_ends():
    for prompt, response in sample_stories(200):
        assert response.startswith(" ")
        assert "  " not in response
        assert prompt.endswith(".")
        assert response.endswith(".")
        assert 4 <= len(response.split()) <= 60


def test_some_stories_say_a_sentence_twice():
    twice = [response for _, response in sample_stories(2000) if has_repeated_sentence(response)]
    assert 0.09 < len(twice) / 2000 < 0.17


def has_repeated_sentence(response: str) -> bool:
    texts = re.split(r"(?<=\.) ", response.strip())
    return len(set(texts)) < len(texts)


def test_endings_come_in_three_kinds():
    generator = random.Random(0)
    texts = [sample_response(generator, MIA) for _ in range(1000)]
    assert sum("the " in text.split(". ")[-1] for text in texts) / 1000 > 0.25
    assert any("told no one." in text for text in texts)
    assert any("went home" in text for text in texts)


def test_weighted_draws_in_proportion():
    generator = random.Random(0)
    drawn = [choose_weighted(generator, {"often": 3, "rarely": 1, "never": 0}) for _ in range(1000)]
    assert drawn.count("never") == 0
    assert 700 < drawn.count("often") < 800
