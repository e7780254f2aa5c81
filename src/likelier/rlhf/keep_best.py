"""Keep the policy that a held-out judge liked best, and hold it against the last one on prompts that chose neither."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from likelier.errors import ConfigError
from likelier.evaluation.heldout import HeldOutEval
from likelier.intervals import t_interval
from likelier.progress import print_note


class BestPolicy:
    """The evaluation with a judge's highest mean so far, and the weights that the policy had then."""

    def __init__(self, judge: str, weights: nn.Module) -> None:
        """`weights`: the trained weights of the policy, which `offer` reads; at the start they are the best."""
        self.judge, self.current = judge, weights
        # In main memory: on the device it would be one model more during training.
        self.weights = copy.deepcopy(weights).cpu()
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


@torch.no_grad()
def select_policy(best: BestPolicy, policy: PreTrainedModel, fresh_eval: HeldOutEval, last_step: int) -> dict[str, Any]:
    """Load the best weights into the policy; returns the record `kept` of `result.json`.

    The best of several noisy means is too high by the selection alone, so both policies answer fresh prompts, and all
    judges score them: `kept` and `last` are means, `difference` is kept minus last with its 95 % interval over prompts.
    """
    last = fresh_eval.score_responses(policy)
    best.restore_policy()
    kept = last if best.step == last_step else fresh_eval.score_responses(policy)
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
    record = {"judge": best.judge, **best.state(), "last_step": last_step, "fresh_prompts": len(fresh_eval.prompts)}
    record["judges"] = judges
    record["in_words"] = describe_selection(record)
    print_note(record["in_words"])
    return record


def describe_selection(kept: Mapping[str, Any]) -> str:
    """Say which policy was kept, and what another judge says of it on fresh prompts; if there is none, the same one."""
    judge, step = kept["judge"], kept["step"]
    if step == kept["last_step"]:
        return f"kept: the last policy (step {step}), which {judge} liked best"
    start = "the model as it was before training" if step == 0 else f"the policy of step {step}"
    others = [name for name in kept["judges"] if name != judge]
    name = others[0] if others else judge
    found = kept["judges"][name]
    alone = "" if others else " (the judge that chose it: eval.scorer has no other)"
    if found["difference"] is None:
        return f"kept: {start}, which {judge} liked best; {name}{alone} scored none of the fresh prompts"
    low, high = found["interval"] or (found["difference"], found["difference"])
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference that could be told from chance"
    return (
        f"kept: {start}, which {judge} liked best; on {kept['fresh_prompts']} fresh prompts {name}{alone} gives it "
        f"{found['kept']:.3g} and the last one {found['last']:.3g}: {verdict} ({low:+.3g} to {high:+.3g})"
    )
