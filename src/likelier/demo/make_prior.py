"""The script that made `prior.npz`: what people want of the demo's stories, before they say anything.

    python -m likelier.demo.make_prior OUT_FILE

Simulated people have tastes that are mixtures of the demo's, and like length more or less. Takes half a minute.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from likelier.demo.corpus import sample_openings
from likelier.demo.people import SPREAD, Describer, TastePrior
from likelier.demo.tastes import TASTES
from likelier.intervals import Floats
from likelier.reward.head_prior import fit_prior
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import seeded_generator

MODEL = Path(__file__).with_name("model")
NUM_PAIRS, NUM_PEOPLE, NUM_ANSWERS, NUM_DIRECTIONS, LENGTH = 500, 40, 60, 32, 64
FAVOURITES, LENGTH_TASTE, DECIDED = 0.7, 0.4, 2.0
"""Parameter of the Dirichlet distribution of mixtures; standard deviations of what length counts, and of score gaps."""


def main() -> None:
    """Write the prior."""
    differences, gaps = describe_pairs(NUM_PAIRS, seed=0)
    basis = find_directions(differences, NUM_DIRECTIONS)
    generator = np.random.default_rng(0)
    kinds = range(len(TASTES))
    people = [draw_wins(differences @ basis, gaps, kinds, NUM_ANSWERS, generator) for _ in range(NUM_PEOPLE)]
    TastePrior(basis, fit_prior(people, SPREAD)).save(Path(sys.argv[1]))


def describe_pairs(count: int, seed: int) -> tuple[Floats, Floats]:
    """Sample two responses to each prompt: their differences in features [N, D], and in tastes and length [N, 4].

    Gaps in taste and length have a standard deviation of 1.
    """
    prompts = [text for text in sample_openings(seed, count) for _ in range(2)]
    model, tokenizer = load_causal_lm(MODEL), load_tokenizer(MODEL)
    draws = draw_uniforms(seeded_generator(seed, 0, "prior"), len(prompts), LENGTH, model.device)
    texts = ExactSampler(model, tokenizer, rows=256).sample(prompts, Sampling(LENGTH), draws).texts
    describe, told = Describer(str(MODEL)), list(zip(prompts, texts, strict=True))
    features = np.array([describe(*each) for each in told])
    scores = np.array([[*(taste(*each) for taste in TASTES.values()), len(each[1])] for each in told])
    gaps = scores[::2] - scores[1::2]
    return features[::2] - features[1::2], gaps / gaps.std(axis=0)


def find_directions(differences: Floats, size: int) -> Floats:
    """Return the largest directions [D, size] of rows [N, D], which gives the rows a mean squared length of 1."""
    basis: Floats = np.linalg.svd(differences, full_matrices=False)[2][:size].T
    scaled: Floats = basis / np.sqrt(((differences @ basis) ** 2).sum(axis=1).mean())
    return scaled


def draw_wins(rows: Floats, gaps: Floats, kinds: Sequence[int], count: int, generator: np.random.Generator) -> Floats:
    """Draw a person with a mixture of some tastes, and `count` answers: preferred minus other, [count, K]."""
    liked = draw_liking(gaps, kinds, generator)
    asked = generator.choice(len(rows), count, replace=False)
    sign = np.where(generator.random(count) < expit(liked[asked]), 1.0, -1.0)
    wins: Floats = rows[asked] * sign[:, None]
    return wins


def draw_liking(gaps: Floats, kinds: Sequence[int], generator: np.random.Generator) -> Floats:
    """Draw a person: by how much the left responses are liked better, in log-odds, [N]."""
    mixture = generator.dirichlet(np.full(len(kinds), FAVOURITES))
    liked = gaps[:, list(kinds)] @ mixture + generator.normal(0, LENGTH_TASTE) * gaps[:, -1]
    decided: Floats = DECIDED * liked / liked.std()
    return decided


if __name__ == "__main__":
    main()
