"""Ink, the classifier and diversity."""

import pytest
import torch

from likelier.images.digits import load_digits
from likelier.images.scores import digit_pictures, measure_diversity, measure_ink, train_classifier

pytest.importorskip("sklearn")


def test_ink_is_the_share_of_black():
    pictures = torch.full((2, 64), -1.0)
    pictures[1, :16] = 1.0
    assert measure_ink(pictures).tolist() == [0.0, 0.25]


def test_the_classifier_reads_digits_and_diversity_counts_them():
    classifier, pictures, labels = train_classifier(0), digit_pictures(), torch.from_numpy(load_digits()[1])
    assert (classifier(pictures).argmax(1) == labels).float().mean() > 0.97
    all_digits, sevens = measure_diversity(pictures, classifier), measure_diversity(pictures[labels == 7], classifier)
    assert all_digits["digits"] == pytest.approx(10.0, abs=0.05)
    assert sevens["digits"] < 1.2
    assert sevens["distance"] < all_digits["distance"]
    black_or_white = torch.tensor([-1.0, 1.0])[:, None].expand(2, 64)
    assert measure_diversity(black_or_white, classifier)["distance"] == pytest.approx(1.0)
