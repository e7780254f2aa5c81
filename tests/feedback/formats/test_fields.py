"""Names of fields that labelling tools leave to their users."""

from pathlib import Path

import pytest

from likelier.errors import DataError
from likelier.feedback.formats.entry import Place
from likelier.feedback.formats.fields import find_answers, find_prompt, read_field

WHERE = Place(Path("a.json"), 3, "record")


@pytest.mark.parametrize(
    ("names", "answers"),
    [
        (["prompt", "response2", "response1"], ["response1", "response2"]),
        (["text1", "text2", "text"], ["text1", "text2"]),
        (["Response A", "Response B", "id"], ["Response A", "Response B"]),
        (["output_1", "output_2", "input"], ["output_1", "output_2"]),
        (["left", "right", "answer1", "answer2"], ["left", "right"]),
        (["model_a", "model_b", "answer_a", "answer_b"], ["answer_a", "answer_b"]),
        (["response", "prompt"], []),
    ],
)
def test_answers_are_found_by_their_names(names: list[str], answers: list[str]) -> None:
    assert find_answers(dict.fromkeys(names, "")) == answers


def test_the_prompt_is_none_of_the_answers() -> None:
    assert find_prompt({"text": "", "question": ""}, ["text"], WHERE) == "question"
    with pytest.raises(DataError, match=r"a\.json: record 3: no field `prompt` \(found text, x\)"):
        find_prompt({"text": "", "x": ""}, ["text"], WHERE)


def test_a_field_is_a_text_or_messages() -> None:
    with pytest.raises(DataError, match="`prompt` must be a text or a list of messages, got 3"):
        read_field({"prompt": 3}, "prompt", WHERE)
