"""Seconds of one PPO iteration by phase, tokens a second and peak memory, with random weights: no model is needed.

python bench/ppo.py [S] [M] [--critic shared] [--bf16] [--repeats 5] [--threads 2] [--json FILE]
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from likelier.config import PPOConfig, RewardSource
from likelier.engines.choose import make_sampler
from likelier.ppo.update import ppo_update
from likelier.records import Prompt
from likelier.reward.sources import make_scorer
from likelier.rlhf.responses import Responses, plan_responses
from likelier.rlhf.rollout import Actors, make_rollout
from likelier.rlhf.scores import Shaper
from likelier.rlhf.train import State
from likelier.text.models import load_causal_lm, load_tokenizer, make_frozen_copy
from likelier.text.policy import TextPolicy
from likelier.text.sampler import Sampling
from likelier.training.setup import Clock, seeded_generator

SIZES = {
    "S": {"layers": 4, "width": 256, "heads": 4, "vocabulary": 4096, "prompts": 64, "mini_batches": 4},
    "M": {"layers": 12, "width": 768, "heads": 12, "vocabulary": 50257, "prompts": 8, "mini_batches": 1},
}
PROMPT_TOKENS, RESPONSE_TOKENS = 32, 64


def make_models(size: dict[str, int], folder: Path) -> None:
    """A language model and a reward model of GPT-2's architecture over a vocabulary of numbered words."""
    names = ["<end>", *(f"w{number}" for number in range(1, size["vocabulary"]))]
    words = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")
    config = GPT2Config(
        vocab_size=size["vocabulary"],
        n_layer=size["layers"],
        n_embd=size["width"],
        n_head=size["heads"],
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        num_labels=1,
    )
    torch.manual_seed(0)
    for name, kind in (("policy", GPT2LMHeadModel), ("reward", GPT2ForSequenceClassification)):
        kind(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def measure(
    name: str,
    bf16: bool,
    repeats: int,
    response: int = RESPONSE_TOKENS,
    critic: Literal["separate", "shared"] = "separate",
    **others: int,
) -> dict[str, Any]:
    """Run `repeats` iterations after one to warm up; median, least and most seconds of each phase.

    `response`: tokens of a response; `others`: in the place of what the size says.
    """
    size = SIZES[name] | others
    ppo = PPOConfig(
        batch_size=size["prompts"],
        num_mini_batches=size["mini_batches"],
        num_ppo_epochs=4,
        total_episodes=size["prompts"] * (repeats + 1),
        response_length=response,
        stop_token=None,
        bf16=bf16,
    )
    with tempfile.TemporaryDirectory() as folder:
        make_models(size, Path(folder))
        model = load_causal_lm(f"{folder}/policy")
        policy = TextPolicy.build(model, critic, None, 1.0, bf16)
        scorer = make_scorer([RewardSource(model=f"{folder}/reward")], "cpu")
        tokenizer = load_tokenizer(f"{folder}/policy")
        sampler = make_sampler(model, tokenizer, ppo)
        actors = Actors(policy, make_frozen_copy(model), tokenizer, sampler, scorer, Shaper(ppo))
    state = State(actors, ppo)
    rows = [iterate(actors, state, ppo, step, size) for step in range(repeats + 1)][1:]
    phases = {phase: spread([row[phase] for row in rows]) for phase in rows[0]}
    tokens = size["prompts"] * response
    return {
        "size": name,
        "precision": "bf16" if bf16 else "fp32",
        "seconds": phases,
        "sampled_tokens_per_second": tokens / phases["sample_seconds"]["median"],
        "tokens_per_second": tokens / phases["iteration"]["median"],
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def iterate(actors: Actors, state: State, ppo: PPOConfig, step: int, size: dict[str, int]) -> dict[str, float]:
    """One iteration of the loop in rlhf/train.py; seconds by phase."""
    clock, began = Clock(), time.perf_counter()
    draw = seeded_generator(0, step, "bench")
    words = torch.randint(1, size["vocabulary"], (size["prompts"], PROMPT_TOKENS), generator=draw).tolist()
    prompts = [Prompt(" ".join(f"w{word}" for word in row)) for row in words]
    plan = plan_responses(prompts, ppo, draw, actors.policy.device)
    texts = [prompt.text for prompt in plan.prompts]
    samples = actors.sampler.sample(texts, Sampling.from_config(ppo), plan.draws)
    clock.lap("sample")
    rollout = make_rollout(actors, Responses(plan, samples, 0), ppo, 0.05, clock)
    ppo_update(actors.policy, state.optimizer, rollout.batch, ppo, draw, state.guard)
    clock.lap("update")
    return clock.laps | {"iteration": time.perf_counter() - began}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["S", "M"])
    parser.add_argument("--critic", choices=("separate", "shared"), default="separate")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = [measure(name, given.bf16, given.repeats, critic=given.critic) for name in given.sizes]
    for result in results:
        print(f"size {result['size']} {result['precision']}: peak {result['peak_memory_gb']:.1f} GB so far")
        for phase, seconds in result["seconds"].items():
            print(f"  {phase.removesuffix('_seconds'):<14}" + "  ".join(f"{k} {v:7.2f}" for k, v in seconds.items()))
        print(f"  {result['sampled_tokens_per_second']:.0f} sampled tokens a second")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
