"""Three states, two networks, a person's 0.5: the program of many a PPO tutorial, done right.

    pip install 'likelier[examples]'
    python examples/article.py --out runs/article

Trains on configs/mdp/three-states.yaml with gamma 0.9 and clip 0.1, prints what was learned beside what is exactly
right, and draws both loss curves. docs/article.md says what the usual tutorial gets wrong, and why.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from likelier.cli import run_script
from likelier.config import UpdateConfig
from likelier.mdp.exact import Floats, TabularMDP
from likelier.mdp.file import read_mdp
from likelier.mdp.learners import Episodes, sample_episodes
from likelier.mdp.ppo import make_batch
from likelier.ppo.losses import entropy_from_logits
from likelier.ppo.policy import Evaluation
from likelier.ppo.update import ppo_update
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer, schedule, seeded_generator, set_learning_rate

MDP_FILE = Path(__file__).parents[1] / "configs" / "mdp" / "three-states.yaml"
FEEDBACK = 0.5
LIKED = (2, 1)
"""The person likes a response that ends with action 1 in state 2. The MDP's own reward has no opinion there."""
CONFIG = UpdateConfig(
    learning_rate=3e-3, cliprange=0.1, cliprange_value=None, vf_coef=0.5, num_ppo_epochs=4, num_mini_batches=4
)
EPISODES, ITERATIONS = 64, 100


class Networks(nn.Module):
    """A policy and a critic, each with two hidden layers of 64 over the one-hot state."""

    def __init__(self, num_states: int, num_actions: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = mlp(num_states, num_actions)
            self.value = mlp(num_states, 1)
        self.one_hot = torch.eye(num_states)

    def evaluate(self, inputs: Mapping[str, Tensor], actions: Tensor, mask: Tensor) -> Evaluation:
        logits = self.policy(self.one_hot[inputs["state"]])
        logprobs = torch.log_softmax(logits, -1).gather(-1, actions[..., None])[..., 0]
        return Evaluation(logprobs, self.state_values(inputs["state"]), entropy_from_logits(logits))

    def state_values(self, states: Tensor) -> Tensor:
        values: Tensor = self.value(self.one_hot[states])[..., 0]
        return values

    @torch.no_grad()
    def probabilities(self) -> Floats:
        table: Floats = torch.softmax(self.policy(self.one_hot).double(), -1).numpy()
        return table


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def with_feedback(seen: Episodes, feedback: float) -> Episodes:
    """A person reads each whole response and rates it; the rating is a reward, paid at the response's last step."""
    last = seen.active.sum(1) - 1
    row = np.arange(len(last))
    liked = (seen.states[row, last] == LIKED[0]) & (seen.actions[row, last] == LIKED[1])
    rewards = seen.rewards.copy()
    rewards[row, last] += feedback * liked
    return seen._replace(rewards=rewards)


def train(
    mdp: TabularMDP, networks: Networks, feedback: float, iterations: int, seed: int
) -> Iterator[dict[str, float]]:
    """Sample, rate, advantages, update; yields the stats of each update."""
    optimizer = make_optimizer([(networks.parameters(), CONFIG.learning_rate)], CONFIG)
    guard, generator = Guard(CONFIG.max_skipped_updates), np.random.default_rng(seed)
    for step in range(iterations):
        set_learning_rate(optimizer, schedule(step, iterations, CONFIG))
        responses = sample_episodes(mdp, networks.probabilities(), EPISODES, 10, generator)
        shuffle = seeded_generator(seed, step, "article")
        batch = make_batch(mdp, networks, with_feedback(responses, feedback), CONFIG, shuffle)
        yield ppo_update(networks, optimizer, batch, CONFIG, shuffle, guard)


def rated_mdp(mdp: TabularMDP, feedback: float) -> TabularMDP:
    """The same MDP with the rating in its table of rewards: what training should find is known exactly."""
    rewards = mdp.rewards.copy()
    rewards[LIKED] += feedback
    return TabularMDP(mdp.transitions, rewards, mdp.gamma)


def draw(stats: list[dict[str, float]], path: Path) -> None:
    """Both losses over the updates."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("policy_loss", "value_loss"), strict=True):
        axes.plot([each[name] for each in stats])
        axes.set(title=name.replace("_", " "), xlabel="update")
        axes.axhline(0, color="grey", linewidth=0.5)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/article"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--feedback", type=float, default=FEEDBACK, help="0: nobody rates")
    given = parser.parse_args()
    matplotlib.use("Agg")
    torch.set_num_threads(1)
    mdp = read_mdp(MDP_FILE).mdp
    networks = Networks(*mdp.rewards.shape, given.seed)
    stats = list(train(mdp, networks, given.feedback, given.iterations, given.seed))
    given.out.mkdir(parents=True, exist_ok=True)
    draw(stats, given.out / "losses.png")
    exact, learned = rated_mdp(mdp, given.feedback), networks.probabilities()
    found = {
        "policy": learned.round(3).tolist(),
        "optimal_policy": exact.optimal_policy().tolist(),
        "values_of_policy": exact.policy_values(learned).round(3).tolist(),
        "optimal_values": exact.optimal_values().tolist(),
        "critic": networks.state_values(torch.arange(len(learned))).detach().double().numpy().round(3).tolist(),
        "losses": str(given.out / "losses.png"),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    sys.exit(run_script(main))
