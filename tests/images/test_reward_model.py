"""A score of pictures from comparisons: what is preferred, careless people, and splits."""

import numpy as np
import pytest
import torch

from likelier.errors import DataError
from likelier.files import write_jsonl
from likelier.images import reward_model
from likelier.images.reward_model import AsTexts, PairTensors, PictureStore, train_picture_reward
from likelier.records import JudgedComparison, Judgement, Media, Preference, Prompt, Response
from likelier.reward.loss import preference_loss

NAMES = [f"{number:064x}" for number in range(200)]


def make_store():
    ink = np.random.default_rng(0).random((200, 64)).astype(np.float32)
    ink[:, 0] = np.linspace(0, 1, 200)
    return PictureStore(NAMES, ink)


def write_pairs(folder, count, flip=0.0, wrong=0.0):
    """Pairs of which the picture with more ink in the first pixel is chosen, but for a share `wrong`."""
    generator = np.random.default_rng(1)
    folder.mkdir()
    for part, size in (("train", count), ("valid", 50), ("test", 100)):
        rows = [sorted(generator.choice(200, 2, replace=False).tolist()) for _ in range(size)]
        pairs = []
        for number, (low, high) in enumerate(rows):
            low, high = (high, low) if generator.random() < wrong else (low, high)
            pairs.append(Preference("", NAMES[high], NAMES[low], flip=flip, conversation=f"{part}{number}"))
        write_jsonl(folder / f"{part}.jsonl", [vars(pair) for pair in pairs])
    return folder


def test_it_learns_what_people_prefer(tmp_path, monkeypatch):
    monkeypatch.setattr(reward_model, "MAX_STEPS", 150)
    model, result = train_picture_reward(write_pairs(tmp_path / "pairs", 400), make_store(), seed=0)
    assert result["accuracy"] > 0.8
    assert result["accuracy_interval"][0] > 0.7
    assert result["pairs"] == 100
    assert result["log_loss"] < 0.55
    scores = model(make_store().pictures())
    assert np.corrcoef(scores, np.arange(200))[0, 1] > 0.8


def test_the_likelihood_is_that_of_other_reward_models():
    pairs = [
        Preference("", NAMES[0], NAMES[1], weight=2.0, flip=0.2),
        Preference("", NAMES[1], NAMES[0], target=0.5, guess=0.7, flip=0.1),
    ]
    expected = preference_loss(
        torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0]), weight=torch.tensor([2.0, 1.0]),
        target=torch.tensor([1.0, 0.5]), flip=torch.tensor([0.2, 0.1]), guess=torch.tensor([0.5, 0.7]),
    )  # fmt: skip
    tensors, pictures = PairTensors.of_pairs(pairs, make_store()), torch.zeros(200, 64)
    pictures[:2, 0] = torch.tensor([1.0, -1.0])
    losses = [tensors.loss(lambda some: some[:, 0], pictures, torch.tensor(rows)).item() for rows in ([0, 1], [0])]
    assert losses[0] == pytest.approx(expected.item(), rel=1e-6)
    assert losses[1] == pytest.approx(2 * 0.3167, abs=2e-4)  # -log(0.8 s(2) + 0.2 s(-2)), with a weight of 2


def test_pictures_are_found_by_their_files_and_written(tmp_path):
    make_store().save(tmp_path / "pictures.safetensors")
    store = PictureStore.load(tmp_path / "pictures.safetensors")
    assert store.names == NAMES
    assert np.array_equal(store.ink, make_store().ink)
    assert store.pictures().min() >= -1
    assert store.find([NAMES[3], NAMES[0]]).tolist() == [3, 0]
    with pytest.raises(DataError, match="no picture has the SHA-256 ffff"):
        store.find(["ffff"])


def test_judgements_of_pictures_become_pairs_of_their_hashes():
    sides = [Response("p", model="m", media=Media("image/png", name, 9)) for name in NAMES[:2]]
    text = Response("p", "a text")
    judged = [
        JudgedComparison(Judgement("c", "ann", left="l", right="r", choice="left"), Prompt("Which?"), left, right)
        for left, right in (sides, (sides[0], text))
    ]
    found = AsTexts(judged).judged()
    assert [(each.left.text, each.right.text, each.prompt.text) for each in found] == [(NAMES[0], NAMES[1], "")]
    assert found[0].is_text
