"""A score of pictures learned from comparisons: small networks, with the likelihood of every reward model here."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likelier.errors import DataError
from likelier.images.digits import Pixels
from likelier.intervals import rate_interval
from likelier.records import JudgedComparison, Preference, Prompt, Response, read_preferences
from likelier.reward.loss import AnswerIntervals, preference_loss
from likelier.training.setup import seeded_generator
from likelier.training.state import load_arrays, save_arrays

NUM_MEMBERS, WIDTH = 3, 64
LEARNING_RATE, WEIGHT_DECAY, BATCH_SIZE = 1e-3, 1e-1, 64
MAX_STEPS, CHECK_STEPS = 600, 25
"""Optimizer steps of each member, of which the weights with the lowest validation loss are kept, measured so often."""


Score = Callable[[Float[Tensor, "N P"]], Float[Tensor, " N"]]


class PictureStore(NamedTuple):
    """Pictures that people compared, by the SHA-256 of their files."""

    names: list[str]
    ink: Pixels

    @classmethod
    def load(cls, path: Path) -> "PictureStore":
        """Read the output of `save`."""
        arrays = load_arrays(path)
        return cls([bytes(name).hex() for name in arrays["names"]], arrays["ink"])

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        names = np.array([list(bytes.fromhex(name)) for name in self.names], np.uint8)
        save_arrays(path, {"names": names, "ink": self.ink})

    def pictures(self) -> Float[Tensor, "N P"]:
        """Return the pictures as models see them, from -1 to 1."""
        return torch.from_numpy(self.ink) * 2 - 1

    def find(self, names: Iterable[str]) -> Int[Tensor, " N"]:
        """Return the rows of pictures by name. DataError: one is not there."""
        rows = {name: row for row, name in enumerate(self.names)}
        try:
            return torch.tensor([rows[name] for name in names], dtype=torch.long)
        except KeyError as error:
            raise DataError(f"comparisons of pictures: no picture has the SHA-256 {error.args[0]}") from error


class AsTexts:
    """Judgements of pictures, each by its hash in the place of a text, so that pairs are made of them as of texts.

    The prompt is left out: pairs that share a picture then stay on one side of a split, and others are free.
    """

    num_ratings_dropped = 0

    def __init__(self, judged: Sequence[JudgedComparison]) -> None:
        self.entries = judged

    def judged(self) -> list[JudgedComparison]:
        """Return the judgements of two pictures."""
        prompt = Prompt("")
        return [
            JudgedComparison(each.judgement, prompt, name_picture(each.left), name_picture(each.right))
            for each in self.entries
            if each.left.media and each.right.media
        ]


def name_picture(response: Response) -> Response:
    """Return a response whose text is the hash of a media file."""
    assert response.media is not None
    return Response(response.prompt_id, response.media.sha256, response.model)


class PictureReward(nn.Module):
    """`NUM_MEMBERS` networks, whose mean is the score, in log-odds."""

    def __init__(self, num_pixels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.members = nn.ModuleList()
        for _ in range(NUM_MEMBERS):
            layers = [nn.Linear(num_pixels, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)]
            for layer in layers:
                nn.init.orthogonal_(layer.weight, 0.1 if layer is layers[-1] else 1.0, generator=generator)
                nn.init.zeros_(layer.bias)
            self.members.append(nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2]))

    def forward(self, pictures: Float[Tensor, "N P"]) -> Float[Tensor, " N"]:
        """Return the mean score of the members."""
        return torch.stack([member(pictures)[:, 0] for member in self.members]).mean(0)


class PairTensors(NamedTuple):
    """Preferences as tensors: rows of pictures, and what the likelihood takes."""

    chosen: Int[Tensor, " N"]
    rejected: Int[Tensor, " N"]
    about: Float[Tensor, "N 4"]
    """Weight, target, flip and guess."""
    intervals: list[tuple[float, float, float]]

    @classmethod
    def of_pairs(cls, pairs: Sequence[Preference], store: PictureStore) -> "PairTensors":
        """Return the tensors of preferences whose texts are names of pictures."""
        chosen, rejected = (store.find(getattr(pair, side) for pair in pairs) for side in ("chosen", "rejected"))
        about = torch.tensor([(pair.weight, pair.target, pair.flip, pair.guess) for pair in pairs])
        return cls(chosen, rejected, about, [pair.interval for pair in pairs])

    def loss(self, score: Score, pictures: Float[Tensor, "M P"], rows: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """Mean negative log-likelihood of some pairs, in nats."""
        weight, target, flip, guess = self.about[rows].T
        chosen, rejected = score(pictures[torch.cat([self.chosen[rows], self.rejected[rows]])]).chunk(2)
        intervals = AnswerIntervals.from_rows([self.intervals[row] for row in rows.tolist()], chosen)
        return preference_loss(
            chosen, rejected, weight=weight, target=target, flip=flip, guess=guess, intervals=intervals
        )


def train_picture_reward(folder: Path, store: PictureStore, seed: int) -> tuple[PictureReward, dict[str, Any]]:
    """Learn from the preferences in `folder` (`train.jsonl`, `valid.jsonl`, `test.jsonl`); returns model and result.

    The result has the accuracy on `test.jsonl` without ties, with its interval, and the log loss there.
    """
    train, valid, test = (read_preferences(folder / f"{part}.jsonl") for part in ("train", "valid", "test"))
    pictures = store.pictures()
    model = PictureReward(pictures.shape[1], seeded_generator(seed, 0, "picture-reward-weights"))
    learned, looked_at = (PairTensors.of_pairs(part, store) for part in (train, valid))
    for number, member in enumerate(model.members):
        fit_member(member, pictures, learned, looked_at, seeded_generator(seed, number, "picture-reward"))
    model.requires_grad_(False)
    return model, measure_reward(model, test, store)


def fit_member(
    member: nn.Module,
    pictures: Float[Tensor, "M P"],
    train: PairTensors,
    valid: PairTensors,
    generator: torch.Generator,
) -> None:
    """Train one network, and keep its weights of the lowest validation loss."""
    optimizer = torch.optim.AdamW(member.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)

    def score(some: Float[Tensor, "N P"]) -> Float[Tensor, " N"]:
        outputs: Tensor = member(some)[:, 0]
        return outputs

    best, kept = float("inf"), member.state_dict()
    for step in range(MAX_STEPS + 1):
        if step % CHECK_STEPS == 0:
            with torch.no_grad():
                loss = float(valid.loss(score, pictures, torch.arange(len(valid.chosen))))
            if loss < best:
                best, kept = loss, {name: value.clone() for name, value in member.state_dict().items()}
        rows = torch.randint(len(train.chosen), (BATCH_SIZE,), generator=generator)
        optimizer.zero_grad()
        train.loss(score, pictures, rows).backward()
        optimizer.step()
    member.load_state_dict(kept)


@torch.no_grad()
def measure_reward(model: PictureReward, pairs: Sequence[Preference], store: PictureStore) -> dict[str, Any]:
    """Return accuracy, its interval and the log loss on pairs that the model has not seen; ties are left out."""
    decided = [pair for pair in pairs if pair.target == 1.0]
    if not decided:
        return {"accuracy": None, "accuracy_interval": None, "log_loss": None, "pairs": 0}
    tensors, scores = PairTensors.of_pairs(decided, store), model(store.pictures())
    gaps = scores[tensors.chosen] - scores[tensors.rejected]
    hits = (gaps > 0).double().numpy()
    return {
        "accuracy": float(hits.mean()),
        "accuracy_interval": rate_interval(hits, [pair.conversation for pair in decided]),
        "log_loss": float(nn.functional.softplus(-gaps).mean()),
        "pairs": len(decided),
    }
