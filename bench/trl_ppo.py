"""Seconds of one iteration of TRL's PPO on the sizes of `bench/ppo.py`, to compare on one machine.

python bench/trl_ppo.py [S] [M] [--bf16] [--repeats 5] [--threads 2]; trl must be there too (measured: 1.12.0).
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer

from ppo import PROMPT_TOKENS, RESPONSE_TOKENS, SIZES, make_models, spread


class Laps(TrainerCallback):
    """When each iteration ended."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def on_step_end(self, *_: object, **__: object) -> None:
        self.times.append(time.perf_counter())


def measure(name: str, bf16: bool, repeats: int) -> dict[str, float]:
    """Seconds an iteration, after one to warm up."""
    size = SIZES[name]
    with tempfile.TemporaryDirectory() as folder:
        make_models(size, Path(folder))
        policy, reference = (AutoModelForCausalLM.from_pretrained(f"{folder}/policy") for _ in range(2))
        critic, reward = (
            AutoModelForSequenceClassification.from_pretrained(f"{folder}/reward", num_labels=1) for _ in range(2)
        )
        for model in (policy, critic):
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        tokenizer = AutoTokenizer.from_pretrained(f"{folder}/policy", padding_side="left")
        rows = torch.randint(1, size["vocabulary"], (size["prompts"] * 4, PROMPT_TOKENS))
        examples = [{"input_ids": row} for row in rows.tolist()]
        settings = PPOConfig(
            output_dir=folder,
            per_device_train_batch_size=size["prompts"],
            num_mini_batches=size["mini_batches"],
            num_ppo_epochs=4,
            total_episodes=size["prompts"] * (repeats + 1),
            response_length=RESPONSE_TOKENS,
            local_rollout_forward_batch_size=size["prompts"],
            num_sample_generations=0,
            temperature=1.0,
            learning_rate=1e-5,
            use_cpu=True,
            bf16=bf16,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
        )
        trainer = PPOTrainer(
            args=settings,
            processing_class=tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=critic,
            train_dataset=examples,
            eval_dataset=examples[: size["prompts"]],
        )
        laps = Laps()
        trainer.add_callback(laps)
        trainer.train()
    return spread([after - before for before, after in zip(laps.times[1:], laps.times[2:], strict=False)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["S", "M"])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for name in given.sizes:
        seconds = measure(name, given.bf16, given.repeats)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        spent = "  ".join(f"{k} {v:.2f}" for k, v in seconds.items())
        print(f"TRL, size {name} {'bf16' if given.bf16 else 'fp32'}: {spent}  peak {peak:.1f} GB")
        results.append({"size": name, "seconds": {"iteration": seconds}, "peak_memory_gb": peak})
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
