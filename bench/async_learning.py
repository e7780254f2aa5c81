"""How soon a known best answer is learned with `ppo.async_steps`: eight letters, all of them a, whose score is 8.

python bench/async_learning.py [--seeds 5] [--ahead 0 1 2 4]
"""

import argparse
import json
import tempfile
from pathlib import Path

from likelier.api.train import train_ppo
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.text.models import save_model

ARCHITECTURE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
STEPS, BATCH, LENGTH = 30, 32, 8


def count_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(response.count("a")) for response in responses]


def make_config(folder: Path) -> dict[str, object]:
    """A model of two words, and the settings that learn in 30 steps."""
    tokenizer = new_tokenizer("words", ["a b"], 8)
    model = new_causal_lm({"model_type": "llama", **ARCHITECTURE}, tokenizer, 0)
    save_model(folder / "model", model, tokenizer, "a bench's")
    texts = ["a", "b", "a b", "b a", "a a", "b b"]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    ppo = {"batch_size": BATCH, "total_episodes": STEPS * BATCH, "response_length": LENGTH, "stop_token": None}
    ppo |= {"learning_rate": 0.003, "num_mini_batches": 2, "num_eval_prompts": 1, "device": "cpu"}
    return {"model": str(folder / "model"), "prompts": str(folder / "prompts.jsonl"), "ppo": ppo}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ahead", type=int, nargs="+", default=[0, 1, 2, 4])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = make_config(folder)
        for ahead in given.ahead:
            found = []
            for seed in range(given.seeds):
                settings = config | {"ppo": {**config["ppo"], "async_steps": ahead}}  # type: ignore[dict-item]
                run = train_ppo(settings, folder / f"{ahead}-{seed}", count_a, seed=seed)
                lines = run.metrics()
                # The policy that scored so had seen `staleness` updates less.
                learned = [line["step"] - line.get("staleness", 0) for line in lines if line["score"] > 7]
                apart = max(line["sampler_difference"] for line in lines)
                found.append((run.result["score_after"], int(learned[0]) if learned else None, round(apart, 2)))
            print(
                json.dumps({"async_steps": ahead, "score, updates until 7 of 8, nats a token apart": found}), flush=True
            )


if __name__ == "__main__":
    main()
