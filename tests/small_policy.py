"""A small network as the policy of an update, and experience for it: four actions at each of at most three steps."""

import torch
from torch import nn

from likelier.config import UpdateConfig
from likelier.ppo.batch import Batch
from likelier.ppo.policy import Evaluation, evaluate_old_policy


class Net(nn.Module):
    """A policy, with values where `critic`."""

    def __init__(self, seed=0, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(seed)
        self.critic = True
        self.body = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 3 * 5)).to(dtype)

    def evaluate(self, inputs, actions, mask):
        out = self.body(inputs["x"]).view(-1, 3, 5)
        logprobs = torch.log_softmax(out[..., :4], -1)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        chosen = logprobs.gather(-1, actions[..., None])[..., 0]
        chosen, values, entropy = (torch.where(mask, each, 0.0) for each in (chosen, out[..., 4], entropy))
        return Evaluation(chosen, values if self.critic else None, entropy)


def experience(net, rows=16, config=UpdateConfig(), dtype=torch.float32):  # noqa: B008 - frozen
    draw = torch.Generator().manual_seed(1)
    inputs = {"x": torch.randn(rows, 5, generator=draw, dtype=dtype)}
    actions = torch.randint(0, 4, (rows, 3), generator=draw)
    mask = torch.arange(3) < torch.randint(1, 4, (rows, 1), generator=draw)
    advantages, returns = (torch.randn(rows, 3, generator=draw, dtype=dtype) * mask for _ in range(2))
    old_logprobs, old_values, _ = evaluate_old_policy(net, inputs, actions, mask, config)
    return Batch(inputs, actions, mask, old_logprobs, old_values, advantages, returns)


def weights_of(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])
