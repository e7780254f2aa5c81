"""Simulated annotators: honest ones as accurate as they say, each vice as it says, all marked, all from the seed."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from likelier.feedback.simulate import Annotator, find_noise, simulate_judgements
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response

World = tuple[list[Comparison], dict[str, Prompt], dict[str, Response]]


def goodness(prompt: str, response: str) -> float:
    """The number that stands in the response."""
    return float(response.split()[0])


def make_world(seed: int = 0, num: int = 400) -> World:
    """Pairs of texts that open with how good they are, of 5 to 40 words."""
    generator = np.random.default_rng(seed)
    prompts = [Prompt(f"Tell me number {number}.") for number in range(num)]
    responses, comparisons = {}, []
    for prompt in prompts:
        texts = [f"{generator.normal():.3f}" + " word" * int(generator.integers(5, 40)) for _ in range(2)]
        pair = [Response(prompt.id, text) for text in texts]
        responses |= {response.id: response for response in pair}
        comparisons.append(Comparison(prompt.id, pair[0].id, pair[1].id))
    return comparisons, {prompt.id: prompt for prompt in prompts}, responses


def judge(*panel: Annotator, seed: int = 0, num: int = 400, per_comparison: int = 1) -> tuple[list[Judgement], World]:
    world = make_world(seed, num)
    return simulate_judgements(*world, panel, np.random.default_rng(seed), per_comparison), world


def right_rate(judgements: list[Judgement], world: World) -> float:
    """How often the better response was preferred, among answers that are no tie."""
    responses = world[2]
    won = [
        goodness("", responses[j.preferred].text)
        == max(goodness("", responses[side].text) for side in (j.left, j.right))
        for j in judgements
        if j.preferred
    ]
    return sum(won) / len(won)


@pytest.mark.parametrize("accuracy", [0.8, 0.95])
def test_honest_annotators_are_right_as_often_as_they_say(accuracy: float) -> None:
    judgements, world = judge(Annotator("ann", goodness, accuracy), num=3000)
    assert right_rate(judgements, world) == pytest.approx(accuracy, abs=0.02)
    assert sum(j.choice == "left" for j in judgements) / len(judgements) == pytest.approx(0.5, abs=0.05)
    assert 0.005 < sum(j.choice == "tie" for j in judgements) / len(judgements) < 0.15


def test_noise_by_hand() -> None:
    # One margin of 1 and a tie width of 0.3; noise 0.5: sigmoid(1.7) / (sigmoid(1.7) + sigmoid(-2.3)) = 0.9027.
    assert find_noise(np.array([1.0, -1.0, 0.0]), 0.9027) == pytest.approx(0.5, abs=1e-3)
    assert find_noise(np.array([0.0]), 0.9) == 1.0


def rate(vice: str, wanted: str) -> float:
    """How often an annotator with this vice chose as wanted: a side, or the longer response."""
    judgements, (_, _, responses) = judge(Annotator("ann", goodness, 0.9, vice), num=1000)
    if wanted == "longer":
        sides = [("left", "right")[len(responses[j.left].text) < len(responses[j.right].text)] for j in judgements]
        return sum(j.choice == side for j, side in zip(judgements, sides, strict=True)) / len(judgements)
    return sum(j.choice == wanted for j in judgements) / len(judgements)


def test_vices_do_what_they_say() -> None:
    assert rate("left", "left") > 0.93
    assert rate("right", "left") < 0.07
    assert rate("longer", "longer") > 0.93
    assert rate("shorter", "longer") < 0.07
    assert rate("random", "left") == pytest.approx(0.5, abs=0.06)
    for vice, right in {"random": 0.52, "reversed": 0.14, "fast": 0.72}.items():
        judgements, world = judge(Annotator("ann", goodness, 0.9, vice), num=2000)
        assert right_rate(judgements, world) == pytest.approx(right, abs=0.05)


def test_reading_takes_time_but_not_in_haste() -> None:
    careful, _ = judge(Annotator("ann", goodness))
    hasty, _ = judge(Annotator("ann", goodness, vice="fast"))
    careful_seconds, hasty_seconds = ([j.duration_seconds or 0 for j in said] for said in (careful, hasty))
    assert 6 < np.median(careful_seconds) < 25
    assert 0.5 < np.median(hasty_seconds) < 1.5
    assert min(careful_seconds) > 1


def test_different_people_judge_a_comparison_in_proportion_to_their_share() -> None:
    panel = [Annotator(f"a{number}", goodness, share=2.0 if number == 0 else 1.0) for number in range(6)]
    judgements, _ = judge(*panel, per_comparison=3)
    people = defaultdict(list)
    for judgement in judgements:
        people[judgement.comparison_id].append(judgement.annotator)
    assert all(len(names) == len(set(names)) == 3 for names in people.values())
    counts = Counter(judgement.annotator for judgement in judgements)
    assert counts["a0"] == pytest.approx(2400 / 7 / 2 * 2, rel=0.1)
    assert all(counts[f"a{number}"] == pytest.approx(1200 / 7, rel=0.15) for number in range(1, 6))


def test_everything_is_marked_and_a_function_of_the_seed() -> None:
    panel = [Annotator("ann", goodness), Annotator("ben", goodness, vice="longer")]
    once, _ = judge(*panel, seed=4, per_comparison=2)
    again, _ = judge(*panel, seed=4, per_comparison=2)
    assert once == again
    assert all(judgement.simulated for judgement in once)
    assert {(j.left, j.right) for j in once} != {(c.response_a, c.response_b) for c in make_world(4)[0]}


def test_impossible_panels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 judges for each comparison, but the panel has only 1"):
        judge(Annotator("ann", goodness), per_comparison=2)
    with pytest.raises(ValueError, match=r"annotator ann: accuracy must lie between 0.5 and 1, got 0.4"):
        Annotator("ann", goodness, accuracy=0.4)


def test_a_panel_that_judges_a_second_time_adds_nothing(tmp_path: Path) -> None:
    """Other responses were sampled meanwhile, as when a folder goes on with another version; another seed does add."""
    panel = (Annotator("ann", goodness), Annotator("bob", goodness))
    with Store.open(tmp_path / "f.db", create=True) as store:
        for world, seed, expected in ((0, 0, 20), (0, 0, 20), (1, 0, 20), (1, 1, 40)):
            comparisons, prompts, responses = make_world(world, 20)
            store.add_prompts(prompts.values())
            store.add_responses(responses.values())
            store.add_comparisons(comparisons)
            store.add_judgements(
                simulate_judgements(comparisons, prompts, responses, panel, np.random.default_rng(seed), 1)
            )
            assert store.counts()["judgements"] == expected
