"""What a pipeline is given: a model, prompts, a pool of comparisons, and people who answer within a budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from worlds import Panel, World

from likelier.candidates import write_candidates
from likelier.config import Config, build_config
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.records import Comparison
from likelier.runs.checkpoints import list_checkpoints, parse_step
from likelier.text.exact_sampler import ExactSampler
from likelier.text.logprobs import compute_sample_logprobs
from likelier.text.models import load_causal_lm, load_tokenizer, save_model
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import seeded_generator
from likelier.training.state import load_file

NUM_PROMPTS, RESPONSES_PER_PROMPT, KL_PROMPTS = 600, 4, 128
Respond = Callable[[Sequence[str]], list[str]]
"""Prompts to one response each."""


@dataclass
class Task:
    """One run of the benchmark."""

    folder: Path
    """Empty; a pipeline may write what it likes."""
    model: Path
    """The policy to start from, a Hugging Face folder."""
    prompts: Path
    """Prompts to train on, JSON lines with `prompt`."""
    db: Path
    """Feedback database with responses of `model` to these prompts, and all comparisons of two of them."""
    budget: int
    """Judgements that people give."""
    max_kl: float
    """Nats a response from `model` that the final policy may be away."""
    length: int
    """Longest response in tokens."""
    seed: int
    _panel: Panel
    spent: int = field(default=0, init=False)
    picked: tuple[Path, str] | None = field(default=None, init=False)
    """Run, and name of the weights' file, of which `pick_checkpoint` picked last."""

    def ask(self, comparisons: Sequence[Comparison], per_comparison: int = 2) -> None:
        """Have different people judge each comparison; the answers are in `db`. ValueError: beyond the budget."""
        wanted = len(comparisons) * per_comparison
        if self.spent + wanted > self.budget:
            raise ValueError(f"{wanted} judgements more than {self.spent} of {self.budget} are beyond the budget")
        with Store.open(self.db) as store:
            prompts = {prompt.id: prompt for prompt in store.prompts()}
            responses = {response.id: response for response in store.responses()}
            judged = self._panel.judge(comparisons, prompts, responses, self.seed + self.spent, per_comparison)
            store.add_judgements(judged)
        self.spent += wanted

    def config(self, **settings: Any) -> Config:
        """Return settings with model, prompts and seed filled in."""
        given = {"model": str(self.model), "prompts": str(self.prompts), "seed": self.seed}
        return build_config(given | settings)

    def pick_checkpoint(self, run: Path, name: str) -> Path:
        """Write the newest checkpoint of a run that is within `max_kl` as a model folder; the start if none is.

        `name`: the file of its weights, whose names may begin with `model.`.
        """
        model, start, tokenizer = load_causal_lm(self.model), load_causal_lm(self.model), load_tokenizer(self.model)
        self.picked = run, name
        for checkpoint in sorted(list_checkpoints(run), key=parse_step, reverse=True):
            load_weights(model, checkpoint / name)
            if measure_kl(model, start, tokenizer, self) <= self.max_kl:
                break
        else:
            model = start
        save_model(self.folder / "picked", model, tokenizer, "")
        return self.folder / "picked"


def trace(task: Task, rate: Callable[[Any], float]) -> list[tuple[float, float]]:
    """KL and what `rate` says of the policy of each checkpoint of the run that was picked from, the start first, until
    one is beyond `max_kl`. Empty: the pipeline picked none."""
    if task.picked is None:
        return []
    run, name = task.picked
    model, start, tokenizer = load_causal_lm(task.model), load_causal_lm(task.model), load_tokenizer(task.model)
    points = [(0.0, rate(start))]
    for checkpoint in sorted(list_checkpoints(run), key=parse_step):
        load_weights(model, checkpoint / name)
        points.append((measure_kl(model, start, tokenizer, task), rate(model)))
        if points[-1][0] > task.max_kl:
            break
    return points


def load_weights(model: Any, path: Path) -> None:
    """Load the policy's weights of a checkpoint into a model."""
    stored = load_file(path)
    own = {name.removeprefix("model."): weight for name, weight in stored.items() if name.startswith("model.")}
    if not any(name.startswith("model.") for name in own):  # saved without a prefix
        own = stored
    missing, _ = model.load_state_dict(own, strict=False)
    assert set(missing) < {"lm_head.weight", "model.embed_tokens.weight"}, missing  # the two are one


@torch.no_grad()
def measure_kl(model: Any, start: Any, tokenizer: Any, task: Task) -> float:
    """Nats a response from the start, on some training prompts."""
    with Store.open(task.db) as store:
        texts = [str(prompt.text) for prompt in store.prompts()][:KL_PROMPTS]
    draws = draw_uniforms(seeded_generator(task.seed, 0, "kl"), len(texts), task.length, model.device)
    config = task.config(ppo={"response_length": task.length}).ppo
    samples = ExactSampler(model, tokenizer, rows=128).sample(texts, Sampling(task.length), draws)
    ours, theirs = (compute_sample_logprobs(lm, samples, config) for lm in (model, start))
    return float(((ours - theirs) * samples.mask).sum(1).mean())


def sample(model: Any, tokenizer: Any, prompts: Sequence[str], length: int, seed: int, purpose: str) -> list[str]:
    """Sample a response to each prompt."""
    draws = draw_uniforms(seeded_generator(seed, 0, purpose), len(prompts), length, model.device)
    return list(ExactSampler(model, tokenizer, rows=256).sample(list(prompts), Sampling(length), draws).texts)


def make_task(folder: Path, world: World, panel: Panel, budget: int, max_kl: float, seed: int) -> Task:
    """Sample the pool of responses, the same for all pipelines with this seed, and put it into a database."""
    folder.mkdir(parents=True)
    prompts, pool = folder / "prompts.jsonl", folder.parent / f"pool-{world.model.name}-{seed}.jsonl"
    write_jsonl(prompts, [{"prompt": text} for text in world.draw_prompts(seed, NUM_PROMPTS)])
    if not pool.exists():
        write_candidates(
            str(world.model), prompts, RESPONSES_PER_PROMPT, pool, response_length=world.length, seed=seed, device="cpu"
        )
    with Store.open(folder / "feedback.db", create=True) as store:
        import_file(pool, "likelier", store)
    return Task(
        folder, world.model, prompts, folder / "feedback.db", budget, max_kl, world.length, seed, panel
    )  # fmt: skip
