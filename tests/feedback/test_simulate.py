"""Simulated annotators: accuracy of honest ones, the effect of each vice, marking and determinism."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from likelier.feedback.simulate import Annotator, simulate_judgements, solve_noise
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response

Comparisons = tuple[list[Comparison], dict[str, Prompt], dict[str, Response]]


def quality(prompt: str, response: str) -> float:
    """Return the number that a response begins with."""
    return float(response.split()[0])


def make_comparisons(seed: int = 0, num: int = 400) -> Comparisons:
    """Make pairs of texts of 5 to 40 words that begin with their quality."""
    generator = np.random.default_rng(seed)
    prompts = [Prompt(f"Tell me number {number}.") for number in range(num)]
    responses, comparisons = {}, []
    for prompt in prompts:
        texts = [f"{generator.normal():.3f}" + " word" * int(generator.integers(5, 40)) for _ in range(2)]
        pair = [Response(prompt.id, text) for text in texts]
        responses |= {response.id: response for response in pair}
        comparisons.append(Comparison(prompt.id, pair[0].id, pair[1].id))
    return comparisons, {prompt.id: prompt for prompt in prompts}, responses


def judge(
    *panel: Annotator, seed: int = 0, num: int = 400, per_comparison: int = 1
) -> tuple[list[Judgement], Comparisons]:
    data = make_comparisons(seed, num)
    return simulate_judgements(*data, panel, np.random.default_rng(seed), per_comparison), data


def measure_accuracy(judgements: list[Judgement], data: Comparisons) -> float:
    """Return the share of answers other than ties that prefer the better response."""
    responses = data[2]
    correct = [
        quality("", responses[j.preferred].text) == max(quality("", responses[side].text) for side in (j.left, j.right))
        for j in judgements
        if j.preferred
    ]
    return sum(correct) / len(correct)


@pytest.mark.parametrize("accuracy", [0.8, 0.95])
def test_honest_annotators_have_the_stated_accuracy(accuracy: float) -> None:
    judgements, data = judge(Annotator("ann", quality, accuracy), num=3000)
    assert measure_accuracy(judgements, data) == pytest.approx(accuracy, abs=0.02)
    assert sum(j.choice == "left" for j in judgements) / len(judgements) == pytest.approx(0.5, abs=0.05)
    assert 0.005 < sum(j.choice == "tie" for j in judgements) / len(judgements) < 0.15


def test_noise_by_hand() -> None:
    # One margin of 1 and a tie width of 0.3; noise 0.5: sigmoid(1.7) / (sigmoid(1.7) + sigmoid(-2.3)) = 0.9027.
    assert solve_noise(np.array([1.0, -1.0, 0.0]), 0.9027) == pytest.approx(0.5, abs=1e-3)
    assert solve_noise(np.array([0.0]), 0.9) == 1.0


def measure_rate(vice: str, wanted: str) -> float:
    """Return how often an annotator with this vice chose `wanted`: a side, or the longer response."""
    judgements, (_, _, responses) = judge(Annotator("ann", quality, 0.9, vice), num=1000)
    if wanted == "longer":
        sides = [("left", "right")[len(responses[j.left].text) < len(responses[j.right].text)] for j in judgements]
        return sum(j.choice == side for j, side in zip(judgements, sides, strict=True)) / len(judgements)
    return sum(j.choice == wanted for j in judgements) / len(judgements)


def test_each_vice_changes_the_choices() -> None:
    assert measure_rate("left", "left") > 0.93
    assert measure_rate("right", "left") < 0.07
    assert measure_rate("longer", "longer") > 0.93
    assert measure_rate("shorter", "longer") < 0.07
    assert measure_rate("random", "left") == pytest.approx(0.5, abs=0.06)
    for vice, right in {"random": 0.52, "reversed": 0.14, "fast": 0.72}.items():
        judgements, data = judge(Annotator("ann", quality, 0.9, vice), num=2000)
        assert measure_accuracy(judgements, data) == pytest.approx(right, abs=0.05)


def test_fast_annotators_take_about_a_second() -> None:
    careful, _ = judge(Annotator("ann", quality))
    hasty, _ = judge(Annotator("ann", quality, vice="fast"))
    careful_seconds, hasty_seconds = ([j.duration_seconds or 0 for j in judgements] for judgements in (careful, hasty))
    assert 6 < np.median(careful_seconds) < 25
    assert 0.5 < np.median(hasty_seconds) < 1.5
    assert min(careful_seconds) > 1


def test_different_people_judge_a_comparison_in_proportion_to_their_share() -> None:
    panel = [Annotator(f"a{number}", quality, share=2.0 if number == 0 else 1.0) for number in range(6)]
    judgements, _ = judge(*panel, per_comparison=3)
    people = defaultdict(list)
    for judgement in judgements:
        people[judgement.comparison_id].append(judgement.annotator)
    assert all(len(names) == len(set(names)) == 3 for names in people.values())
    counts = Counter(judgement.annotator for judgement in judgements)
    assert counts["a0"] == pytest.approx(2400 / 7 / 2 * 2, rel=0.1)
    assert all(counts[f"a{number}"] == pytest.approx(1200 / 7, rel=0.15) for number in range(1, 6))


def test_judgements_are_marked_and_deterministic_in_the_seed() -> None:
    panel = [Annotator("ann", quality), Annotator("ben", quality, vice="longer")]
    once, _ = judge(*panel, seed=4, per_comparison=2)
    again, _ = judge(*panel, seed=4, per_comparison=2)
    assert once == again
    assert all(judgement.simulated for judgement in once)
    assert {(j.left, j.right) for j in once} != {(c.response_a, c.response_b) for c in make_comparisons(4)[0]}


def test_impossible_panels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 judges for each comparison, but the panel has only 1"):
        judge(Annotator("ann", quality), per_comparison=2)
    with pytest.raises(ValueError, match=r"annotator ann: accuracy must lie between 0.5 and 1, got 0.4"):
        Annotator("ann", quality, accuracy=0.4)


def test_a_panel_that_judges_a_second_time_adds_nothing(tmp_path: Path) -> None:
    """Other responses were sampled meanwhile, as when a folder goes on with another version; another seed does add."""
    panel = (Annotator("ann", quality), Annotator("bob", quality))
    with Store.open(tmp_path / "f.db", create=True) as store:
        for data, seed, expected in ((0, 0, 20), (0, 0, 20), (1, 0, 20), (1, 1, 40)):
            comparisons, prompts, responses = make_comparisons(data, 20)
            store.add_prompts(prompts.values())
            store.add_responses(responses.values())
            store.add_comparisons(comparisons)
            store.add_judgements(
                simulate_judgements(comparisons, prompts, responses, panel, np.random.default_rng(seed), 1)
            )
            assert store.counts()["judgements"] == expected
