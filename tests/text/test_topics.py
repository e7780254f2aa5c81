"""Topics of texts by their words."""

import numpy as np

from likelier.text.topics import embed_words, find_topics, run_k_means

SUBJECTS = (
    ["river", "boat", "water", "fish", "swim", "lake", "net"],
    ["engine", "wheel", "road", "car", "brake", "fuel", "tyre"],
    ["violin", "song", "choir", "piano", "drum", "chord", "tune"],
)


def make_texts(each: int) -> tuple[list[str], list[int]]:
    generator = np.random.default_rng(0)
    subjects = [subject for subject in range(3) for _ in range(each)]
    texts = [
        " ".join(generator.choice(SUBJECTS[subject], 4, replace=False)) + f" {i}" for i, subject in enumerate(subjects)
    ]
    return texts, subjects


def test_topics_are_found_and_named_alike_for_equal_texts() -> None:
    texts, subjects = make_texts(6)
    topics = find_topics([*texts, *texts])
    assert topics is None  # 18 different texts have none
    texts, subjects = make_texts(10)
    topics = find_topics([*texts, texts[0]])
    assert topics is not None
    assert topics[-1] == topics[0]
    # 30 texts have round(sqrt(15)) = 4 topics: none of two subjects
    assert len({(topic, subject) for topic, subject in zip(topics, subjects, strict=False)}) == len(set(topics)) == 4


def test_few_words_have_no_directions() -> None:
    assert embed_words(["a b", "b c"] * 5, 4)[1].shape == (10, 0)


def test_k_means_by_hand() -> None:
    places = np.array([[0.0], [1.0], [10.0], [12.0]])
    clusters, inertia = min(
        (run_k_means(places, 2, np.random.default_rng(seed)) for seed in range(4)), key=lambda t: t[1]
    )
    assert clusters[0] == clusters[1] != clusters[2] == clusters[3]
    assert inertia == 0.5 + 2.0
