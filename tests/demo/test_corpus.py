"""The demo's stories: what a model reads, and openings that it does not."""

import random
import re

from likelier.demo.corpus import (
    ENDINGS,
    MIDDLES,
    SLOTS,
    Opening,
    Words,
    draw_opening,
    draw_response,
    draw_story,
    openings,
    weighted,
)

MIA = Opening("Mia", "fox", "small", "goat", "found", "shiny", "bell", "on the hill")


def stories(count: int) -> list[tuple[str, str]]:
    draw = random.Random(3)
    return [draw_story(draw) for _ in range(count)]


def test_an_opening_is_one_sentence():
    assert MIA.text == "Mia the fox and the small goat found a shiny bell on the hill."


def test_openings_are_different_and_follow_from_the_seed():
    first = openings(0, 700)
    assert len(set(first)) == 700
    assert openings(0, 300) == first[:300]
    assert len(set(first) & set(openings(1, 700))) < 70


def test_no_opening_is_in_a_story_that_the_model_reads():
    read = {prompt for prompt, _ in stories(3000)}
    assert not read & set(openings(0, 3000))


def test_about_one_opening_in_eight_is_held_out():
    draw = random.Random(0)
    asked = [draw_opening(draw, held_out=False).held_out or draw_opening(draw, held_out=True).held_out for _ in "ab"]
    assert asked == [True, True]


def test_words_of_one_story_agree():
    words = Words(random.Random(0), MIA)
    told = '"May I try it?" asked {friend}. {He} rang the {thing}. {Friend} saw {hero}.'.format_map(words)
    assert told == '"May I try it?" asked the small goat. She rang the bell. The small goat saw Mia.'


def test_an_article_fits_its_colour():
    words = Words(random.Random(0), MIA)
    seen = {"{A_colour}".format_map(words) for _ in range(300)}
    assert {"An orange", "A red"} <= seen
    assert "A orange" not in seen


def test_every_name_in_a_sentence_is_filled():
    words = Words(random.Random(0), MIA)
    for sentences in (*MIDDLES.values(), *ENDINGS.values()):
        for sentence in sentences:
            told = sentence.format_map(words)
            assert re.search(r"[{}]", told) is None
            assert told[0] == '"' or told[0].isupper()
            assert told.endswith(".")
    used = set(re.findall(r"{([^}]+)}", str([MIDDLES, ENDINGS])))
    assert set(SLOTS) - {"colour"} <= used


def test_a_response_goes_on_where_the_opening_ends():
    for prompt, response in stories(200):
        assert response.startswith(" ")
        assert "  " not in response
        assert prompt.endswith(".")
        assert response.endswith(".")
        assert 4 <= len(response.split()) <= 60


def test_some_stories_say_a_sentence_twice():
    twice = [response for _, response in stories(2000) if said_twice(response)]
    assert 0.09 < len(twice) / 2000 < 0.17


def said_twice(response: str) -> bool:
    told = re.split(r"(?<=\.) ", response.strip())
    return len(set(told)) < len(told)


def test_endings_come_in_three_kinds():
    draw = random.Random(0)
    told = [draw_response(draw, MIA) for _ in range(1000)]
    assert sum("the " in text.split(". ")[-1] for text in told) / 1000 > 0.25
    assert any("told no one." in text for text in told)
    assert any("went home" in text for text in told)


def test_weighted_draws_in_proportion():
    draw = random.Random(0)
    drawn = [weighted(draw, {"often": 3, "rarely": 1, "never": 0}) for _ in range(1000)]
    assert drawn.count("never") == 0
    assert 700 < drawn.count("often") < 800
