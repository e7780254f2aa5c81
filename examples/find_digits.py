"""Finding and naming digits by reward alone: a box and a class are one action, and an episode is one step.

    python examples/find_digits.py --out runs/detection

scikit-learn's digits, drawn at random sizes and places on a larger canvas. An action is a box of four numbers and one
of ten classes. The reward is the intersection over union (IoU) of box and digit if the class is right, else 0: nobody
tells the agent where the digit is, nor which. Beside it stand the same network told every box and class of as many
canvases, and the best box and class that look at nothing.
"""

import argparse
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import digits
import gymnasium
import numpy as np
import torch
from PIL import Image
from torch import nn

from likelier.cli import run_script
from likelier.config import build_config
from likelier.control.agent import load_agent
from likelier.control.nets import conv_output_width, make_conv_trunk
from likelier.control.train import train_gym
from likelier.runs.run import Run

CANVAS, SMALLEST, LARGEST, CLASSES, NUM_TEST, HIDDEN = 24, 8, 16, 10, 2000, 256  # the first three: pixels of a side
Seen = tuple[np.ndarray, dict[str, Any]]
GYM: dict[str, Any] = {
    "env_id": f"{__file__}:Detection", "total_steps": 409_600, "num_envs": 64, "rollout_length": 32, "gamma": 0.0,
    "num_ppo_epochs": 4, "num_mini_batches": 8, "learning_rate": 1e-3, "lr_schedule": "linear", "log_std": -1.0,
    "entropy_coef": 0.003, "hidden_sizes": [HIDDEN], "activation": "relu", "normalize_rewards": False, "gif": False,
}  # fmt: skip
load_images = cache(digits.images)


def draw_canvas(pixels: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A digit of 64 pixels between 0 and 1 on a black canvas `[24, 24]`, and its box: left, top, right, bottom."""
    width, height = generator.integers(SMALLEST, LARGEST + 1, 2)
    left, top = generator.integers(CANVAS - width + 1), generator.integers(CANVAS - height + 1)
    digit = Image.fromarray((255 * pixels).astype(np.uint8).reshape(8, 8))
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    canvas[top : top + height, left : left + width] = digit.resize((width, height), Image.Resampling.BILINEAR)
    return canvas, np.array([left, top, left + width, top + height], np.float32)


def to_corners(action: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom in pixels of boxes `[..., 4]`: centre x, y, width, height as shares of the canvas."""
    centre, size = CANVAS * action[..., :2], CANVAS * action[..., 2:]
    return np.concatenate([centre - size / 2, centre + size / 2], -1)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes `[..., 4]`: left, top, right, bottom."""
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    both = np.clip(sides, 0, None).prod(-1)
    one, other = ((box[..., 2:] - box[..., :2]).prod(-1) for box in (first, second))
    return both / (one + other - both)


class Detection(gymnasium.Env[np.ndarray, tuple[np.ndarray, np.int64]]):
    """Shows a canvas with a digit of the training images."""

    def __init__(self) -> None:
        self.pixels, self.labels = load_images("train")
        self.observation_space = gymnasium.spaces.Box(0, 255, (CANVAS, CANVAS), np.uint8)
        box = gymnasium.spaces.Box(0, 1, (4,), np.float32)
        self.action_space = gymnasium.spaces.Tuple((box, gymnasium.spaces.Discrete(CLASSES)))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Seen:
        super().reset(seed=seed)
        shown = self.np_random.integers(len(self.labels))
        self.canvas, self.box = draw_canvas(self.pixels[shown], self.np_random)
        self.label = self.labels[shown]
        return self.canvas.copy(), {}

    def step(self, action: tuple[np.ndarray, np.int64]) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        box, label = action
        reward = float(iou(to_corners(box), self.box)) if label == self.label else 0.0
        return self.canvas.copy(), reward, True, False, {}


def draw_canvases(part: str, num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canvases of images of a part, their boxes and labels."""
    (pixels, labels), generator = load_images(part), np.random.default_rng(seed)
    shown = generator.integers(len(labels), size=num)
    canvases, boxes = zip(*(draw_canvas(pixels[at], generator) for at in shown), strict=True)
    return np.stack(canvases), np.stack(boxes), labels[shown]


def supervise(num: int, seed: int) -> nn.Module:
    """A network like the agent's, from canvases to boxes and logits `[N, 14]`, told those of `num` canvases."""
    torch.manual_seed(seed)
    shape, rows, epochs = (1, CANVAS, CANVAS), GYM["num_envs"] * GYM["rollout_length"], GYM["num_ppo_epochs"]
    hidden = (nn.Linear(conv_output_width(shape), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 4 + CLASSES))
    net = nn.Sequential(*make_conv_trunk(shape), *hidden)
    optimizer = torch.optim.Adam(net.parameters(), GYM["learning_rate"])
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, num // rows)
    for batch in range(num // rows):
        canvases, corners, labels = draw_canvases("train", rows, 1_000_000 * (seed + 1) + batch)
        centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        told = (canvases[:, None] / np.float32(255), np.concatenate([centre, size], -1) / CANVAS, labels)
        for _ in range(epochs):  # as often as PPO looks at its canvases, in minibatches as large
            for part in torch.randperm(rows).chunk(GYM["num_mini_batches"]):
                inputs, boxes, classes = (torch.from_numpy(each)[part] for each in told)
                outputs = net(inputs)
                class_loss = nn.functional.cross_entropy(outputs[:, 4:], classes)
                optimizer.zero_grad()
                (class_loss + 10 * nn.functional.l1_loss(outputs[:, :4], boxes)).backward()
                optimizer.step()
        schedule.step()
    return net


def measure(boxes: np.ndarray, labels: np.ndarray, corners: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Mean IoU of all boxes, share of right classes, and mean reward."""
    overlap, right = iou(to_corners(boxes), corners), labels == classes
    return {"iou": float(overlap.mean()), "accuracy": float(right.mean()), "reward": float((right * overlap).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/detection"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as gym.lam=0.9")
    given = parser.parse_args()
    config = build_config({"seed": given.seed, "gym": GYM}, given.set)
    with Run(given.out, "gym", config, "auto") as run:
        trained = train_gym(config, run)
    canvases, *true = draw_canvases("test", NUM_TEST, 0)
    agent = load_agent(given.out / "model")
    boxes, labels = (np.stack(part) for part in zip(*(agent(canvas) for canvas in canvases), strict=True))
    told = supervise(trained["steps"], given.seed)(torch.from_numpy(canvases)[:, None] / 255).detach().numpy()
    middle = [np.array([[0.5, 0.5, side, side]]) for side in np.linspace(0.3, 1, 29)]
    blind = max(middle, key=lambda box: float(iou(to_corners(box), true[0]).mean()))
    result = {"seed": given.seed, "steps": trained["steps"], "seconds": trained["seconds"]}
    result |= {
        "agent": measure(boxes, labels, *true),
        "supervised": measure(told[:, :4], told[:, 4:].argmax(-1), *true),
    }
    print(json.dumps(result | {"chance": measure(blind, np.arange(NUM_TEST) % CLASSES, *true)}))


if __name__ == "__main__":
    sys.exit(run_script(main))
