"""Keep the policy that a held-out judge liked best, or stop where the judges fall; shared by PPO on text and pictures.

The kept policy is held against the last one on prompts, or with noise, that chose neither.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likelier.config import PPOConfig
from likelier.distributed import all_reduce_max, get_rank, is_sharded
from likelier.errors import ConfigError
from likelier.intervals import t_interval
from likelier.progress import print_note
from likelier.training.state import copy_weights

ScoreFresh = Callable[[], Mapping[str, Float[Tensor, " B"]]]
"""Scores of the present policy by each judge, always on the same fresh prompts or noise; NaN where it gave none."""
Kind = Literal["prompts", "pictures"]


@runtime_checkable
class Named(Protocol):
    """A finding of the doctor, who sees nothing of this folder."""

    @property
    def name(self) -> str:
        """The name that `ppo.stop_on` may have."""
        ...


class BestPolicy:
    """The evaluation with a judge's highest mean so far, and the weights that the policy had then."""

    def __init__(self, judge: str, weights: nn.Module) -> None:
        """`weights`: the trained weights of the policy, which `offer` reads; at the start they are the best."""
        self.judge, self.current = judge, weights
        # In main memory: on the device it would be one model more during training. Parts of sharded weights stay.
        copied = copy_weights(weights)
        self.weights = copied if any(map(is_sharded, copied.parameters())) else copied.cpu()
        self.step, self.score, self.kl = 0, float("-inf"), 0.0

    def offer(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take over the current weights if the judge likes them better than all before; the earlier of equals stays.

        ConfigError: the judge scored none of the held-out prompts.
        """
        score = metrics.get(f"eval/{self.judge}")
        if score is None:
            raise ConfigError(f"ppo.keep_best: {self.judge} scored none of the held-out prompts; name another judge")
        if score > self.score:
            self.step, self.score, self.kl = step, score, metrics["eval_kl"]
            self.weights.load_state_dict(self.current.state_dict())

    def restore_policy(self) -> None:
        """Load the best weights into the policy."""
        self.current.load_state_dict(self.weights.state_dict())

    def state(self) -> dict[str, Any]:
        """Step, score and KL, for a checkpoint; the weights are a module of their own there."""
        return {"step": self.step, "score": self.score, "kl": self.kl}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the output of `state`."""
        self.step, self.score, self.kl = state["step"], state["score"], state["kl"]


class PolicySelection:
    """Which policy of a run is kept (`ppo.keep_best`), and where training ends (`ppo.stop_on`)."""

    def __init__(self, ppo: PPOConfig, weights: nn.Module) -> None:
        """`weights`: the trained weights of the policy."""
        self.ppo = ppo
        self.best = BestPolicy(ppo.keep_best, weights) if ppo.keep_best else None
        self.num_steps, self.stopped_on = ppo.steps, ""

    def remaining_steps(self, start: int) -> Iterator[int]:
        """Yield the iterations from `start` on, until the last one or `stop_early`."""
        for step in range(start, self.ppo.steps):
            if step >= self.num_steps:
                return
            yield step

    def offer(self, step: int, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Copy the policy if the judge of `ppo.keep_best` likes it better than all before; returns the metrics."""
        if self.best:
            self.best.offer(step, metrics)
        return metrics

    def stop_early(self, step: int, findings: Iterable[Named]) -> None:
        """Make this step the last one if the doctor found what `ppo.stop_on` names; in all processes alike."""
        if self.ppo.stop_on is None:
            return
        # Only rank 0 has the log from before a resume, so it decides.
        found = any(finding.name == self.ppo.stop_on for finding in findings)
        if all_reduce_max(int(found and get_rank() == 0)):
            self.num_steps, self.stopped_on = step, self.ppo.stop_on

    def select(
        self, after: Mapping[str, float], score_fresh: ScoreFresh, num_fresh: int, kind: Kind = "prompts"
    ) -> dict[str, Any]:
        """Load the best policy after a last evaluation; returns the records of `result.json` about it, if any."""
        if self.best is None:
            return {}
        self.best.offer(self.num_steps, after)
        kept = select_policy(self.best, score_fresh, num_fresh, self.num_steps, kind)
        return {"kept_step": kept["step"], "kept": kept}

    def modules(self) -> dict[str, nn.Module]:
        """The best weights, by file name in a checkpoint."""
        return {"best": self.best.weights} if self.best else {}

    def state(self) -> dict[str, Any]:
        """Numbers for a checkpoint."""
        counts: dict[str, Any] = {"best": self.best.state()} if self.best else {}
        return counts | ({"stopped_on": self.stopped_on, "num_steps": self.num_steps} if self.stopped_on else {})

    def load(self, saved: Mapping[str, Any]) -> None:
        """Restore the output of `state`, which may stand among other numbers."""
        self.num_steps, self.stopped_on = saved.get("num_steps", self.num_steps), saved.get("stopped_on", "")
        if self.best:
            self.best.load(saved["best"])


@torch.no_grad()
def select_policy(
    best: BestPolicy, score_fresh: ScoreFresh, num_fresh: int, last_step: int, kind: Kind = "prompts"
) -> dict[str, Any]:
    """Load the best weights into the policy; returns the record `kept` of `result.json`.

    The best of several noisy means is too high by the selection alone, so both policies answer `num_fresh` fresh
    prompts, or draw as many pictures with fresh noise, and all judges score them: `kept` and `last` are means,
    `difference` is kept minus last with its 95 % interval over prompts.
    """
    last = score_fresh()
    best.restore_policy()
    kept = last if best.step == last_step else score_fresh()
    judges = {}
    for name in last:
        differences = (kept[name] - last[name]).double()
        differences = differences[differences.isfinite()]
        judges[name] = {
            "kept": float(kept[name].nanmean()),
            "last": float(last[name].nanmean()),
            "difference": float(differences.mean()) if len(differences) else None,
            "interval": t_interval(differences.cpu().numpy()),
        }
    record = {"judge": best.judge, **best.state(), "last_step": last_step, f"fresh_{kind}": num_fresh}
    record["judges"] = judges
    record["in_words"] = describe_selection(record, kind)
    print_note(record["in_words"])
    return record


def describe_selection(kept: Mapping[str, Any], kind: Kind = "prompts") -> str:
    """Say which policy was kept, and what another judge says of it on fresh prompts; if there is none, the same one."""
    judge, step = kept["judge"], kept["step"]
    if step == kept["last_step"]:
        return f"kept: the last policy (step {step}), which {judge} liked best"
    start = "the model as it was before training" if step == 0 else f"the policy of step {step}"
    others = [name for name in kept["judges"] if name != judge]
    name = others[0] if others else judge
    found = kept["judges"][name]
    alone = "" if others else " (the judge that chose it: there is no other)"
    if found["difference"] is None:
        return f"kept: {start}, which {judge} liked best; {name}{alone} scored none of the fresh {kind}"
    low, high = found["interval"] or (found["difference"], found["difference"])
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference that could be told from chance"
    return (
        f"kept: {start}, which {judge} liked best; on {kept[f'fresh_{kind}']} fresh {kind} {name}{alone} gives it "
        f"{found['kept']:.3g} and the last one {found['last']:.3g}: {verdict} ({low:+.3g} to {high:+.3g})"
    )
