"""Ratings by a simulated panel, some of whom do not look."""

import numpy as np

from likelier.records import Prompt, RatedResponse, Rating, Response

PROMPT = Prompt("p")
STEPS = np.array([-3.0, -1.8, -0.6, 0.6, 1.8, 3.0])


def rate_all(people: int, random: int, seed: int = 0, scale: list[int] | None = None) -> list[RatedResponse]:
    """60 ratings by each person of 80 responses, on 1 to 7; the first `random` people do not look."""
    generator, rated = np.random.default_rng(seed), []
    scores = generator.normal(0, 2.5, 80)
    responses = [Response(PROMPT.id, f"answer {number}") for number in range(80)]
    for person in range(people):
        thresholds = STEPS + generator.normal()
        for place in generator.choice(80, 60, replace=False):
            value = 1 + int((scores[place] + generator.logistic() > thresholds).sum())
            value = int(generator.integers(1, 8)) if person < random else value
            rating = Rating(responses[place].id, f"p{person}", float(value), extra={"scale": scale} if scale else {})
            rated.append(RatedResponse(rating, PROMPT, responses[place]))
    return rated
