"""A project's comparisons and judgements as arrays, from which a strategy chooses."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from likelier.asking.gains import choose_by_determinant, choose_by_entropy, measure_disagreement
from likelier.asking.scores import estimate_scores
from likelier.feedback.reliability import Choices, encode_choices
from likelier.records import Text

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MAX_CANDIDATES = 20_000
"""Of more comparisons that nobody has begun a random part is looked at: a batch of 32 then takes a second."""
RIDGE = 1.0
"""Prior precision of the last layer's weights, for features whose differences have mean square 1 a dimension."""


class RewardRun(Protocol):
    """A reward run's models."""

    def describe(self, prompts: Sequence[Text], texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Return the input of the first model's last layer, [N, D], and each model's scores, [K, N]."""


class Pool:
    """Responses, comparisons and answers of a project, added to as they come."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        """Of responses by id."""
        self.texts: list[tuple[Text, str] | None] = []
        """Prompt and response by number; None for a media file."""
        self.comparisons: dict[str, tuple[int, int]] = {}
        self.answers: dict[tuple[str, str], float] = {}
        """By person and comparison the newest: 1 for the comparison's first response, -1 for its second, 0 a tie."""
        self.features, self.scores = np.zeros((0, 0)), np.zeros((0, 0))
        self.generator = np.random.default_rng(0)

    def add(self, record: dict[str, Any]) -> None:
        """Add what a request brings: responses with prompts, comparisons, answers."""
        for response_id, prompt, text in record["responses"]:
            self.numbers[response_id] = len(self.texts)
            self.texts.append(None if text is None else (prompt, text))
        for comparison_id, one, two in record["comparisons"]:
            self.comparisons[comparison_id] = self.numbers[one], self.numbers[two]
        for annotator, comparison_id, preferred in record["answers"]:
            if pair := self.comparisons.get(comparison_id):
                sign = 0.0 if preferred is None else 1.0 if self.numbers[preferred] == pair[0] else -1.0
                self.answers[annotator, comparison_id] = sign

    def list_open(self) -> list[str]:
        """Return the comparisons that nobody has answered, in random order, `MAX_CANDIDATES` at most."""
        begun = {comparison for _, comparison in self.answers}
        unbegun = [each for each in self.comparisons if each not in begun]
        return [unbegun[place] for place in self.generator.permutation(len(unbegun))[:MAX_CANDIDATES]]

    def choose(self, strategy: str, size: int, run: RewardRun | None) -> list[str]:
        """Return the ids of the `size` comparisons that a strategy would begin next."""
        candidates = self.list_open()
        if run:
            candidates = [each for each in candidates if self.is_text(each)]
            self.describe_new(run)
        if not candidates:
            return []
        left, right = self.find_sides(candidates)
        if strategy == "entropy":
            chosen = self.choose_by_entropy(left, right, size)
        elif strategy == "disagreement":
            gains = measure_disagreement(self.scores[:, left] - self.scores[:, right])
            chosen = np.argsort(-gains, kind="stable")[:size].tolist()
        else:
            chosen = self.choose_by_determinant(left, right, size)
        return [candidates[place] for place in chosen]

    def is_text(self, comparison_id: str) -> bool:
        """True if both responses are texts."""
        return all(self.texts[number] is not None for number in self.comparisons[comparison_id])

    def find_sides(self, comparison_ids: Iterable[str]) -> tuple[Indices, Indices]:
        """Return the numbers of the first and the second responses."""
        pairs = np.array([self.comparisons[each] for each in comparison_ids], np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def describe_new(self, run: RewardRun) -> None:
        """Let a reward run read the responses that it has not read yet; media files have zeros."""
        done = len(self.features)
        new = [text or ("", "") for text in self.texts[done:]]
        if new:
            features, scores = run.describe([prompt for prompt, _ in new], [text for _, text in new])
            self.features = np.concatenate([self.features, features]) if done else features
            self.scores = np.concatenate([self.scores, scores], axis=1) if done else scores

    def forget_run(self) -> None:
        """Read all responses again at the next request: the reward run has changed."""
        self.features, self.scores = np.zeros((0, 0)), np.zeros((0, 0))

    def to_choices(self) -> Choices | None:
        """Return all answers, with the pool's numbers of responses; None without any."""
        if not self.answers:
            return None
        pairs = [self.comparisons[comparison] for _, comparison in self.answers]
        people = [annotator for annotator, _ in self.answers]
        words = [{1.0: "left", -1.0: "right", 0.0: "tie"}[sign] for sign in self.answers.values()]
        data = encode_choices([one for one, _ in pairs], [two for _, two in pairs], people, words)[2]
        left, right = np.array(pairs, np.int64).T
        return Choices(left, right, data.annotator, data.sign, len(self.texts), *list(vars(data).values())[5:])

    def choose_by_entropy(self, left: Indices, right: Indices, size: int) -> list[int]:
        """Return the places of the comparisons whose answers lower the scores' entropy most."""
        every = self.find_sides(self.comparisons)
        scores = estimate_scores(self.to_choices(), *every, len(self.texts))
        return choose_by_entropy(*scores, left, right, size)

    def choose_by_determinant(self, left: Indices, right: Indices, size: int) -> list[int]:
        """Return the places of a D-optimal batch on the features, after the answers so far."""
        judged = {comparison for _, comparison in self.answers if self.is_text(comparison)}
        one, two = self.find_sides(sorted(judged))
        score = self.scores.mean(axis=0)
        rows, known = self.features[left] - self.features[right], self.features[one] - self.features[two]
        scale = float(np.sqrt((rows**2).mean())) or 1.0
        p, p_known = expit(score[left] - score[right]), expit(score[one] - score[two])
        return choose_by_determinant(rows / scale, p * (1 - p), known / scale, p_known * (1 - p_known), size, RIDGE)
