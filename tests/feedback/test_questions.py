"""What is asked in the modes for ratings and rankings."""

from likelier.feedback.questions import Question, make_ranking_questions, make_rating_questions
from likelier.records import Response


def respond(prompt: str, count: int) -> list[Response]:
    return [Response(prompt, f"{number}") for number in range(count)]


def test_each_response_is_rated_by_its_own_id() -> None:
    one, two = responses = respond("p", 2)
    assert [question.id for question in make_rating_questions(responses)] == [one.id, two.id]


def test_responses_are_ranked_in_sets_of_a_size_and_the_last_is_filled_up() -> None:
    responses = [*respond("p", 5), *respond("q", 3), *respond("lonely", 1)]
    ids = [response.id for response in responses]
    questions = make_ranking_questions(responses, 4, [])
    assert [question.responses for question in questions] == [
        tuple(ids[:4]),
        (ids[4], *ids[:3]),
        tuple(ids[5:8]),
    ]


def test_sets_that_were_ranked_stay_when_responses_come() -> None:
    responses = respond("p", 6)
    ids = [response.id for response in responses]
    before = make_ranking_questions(responses[1:5], 2, [])
    after = make_ranking_questions(responses, 2, [each.responses for each in before])
    assert {each.id for each in before} < {each.id for each in after}
    assert set(after[-1].responses) == {ids[0], ids[5]}
    assert make_ranking_questions(responses, 2, [("gone", ids[0])]) == make_ranking_questions(responses, 2, [])


def test_the_order_of_a_set_makes_no_other_question() -> None:
    assert Question("p", ("a", "b", "c")).id == Question("p", ("c", "a", "b")).id
    assert Question("p", ("a", "b")).id != Question("p", ("a", "c")).id
