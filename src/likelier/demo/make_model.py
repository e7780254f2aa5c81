"""The script that made `model/`: a small Llama trained with `likelier.finetune.sft` on stories from `corpus.py`.

    python -m likelier.demo.make_model OUT_FOLDER

Takes about five minutes on one core. Prints the numbers of the model's README.md: its loss, the entropy of the stories'
distribution, and statistics of its samples.
"""

import json
import math
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import build_config
from likelier.demo.corpus import sample_opening, sample_openings, sample_response, sample_story
from likelier.demo.tastes import TASTES
from likelier.files import write_jsonl
from likelier.finetune.sft import train_sft
from likelier.runs.run import Run
from likelier.terminal import echo
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer, save_model
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.text.variety import distinct_n
from likelier.training.setup import seeded_generator

Measurements = dict[str, Any]

STORIES = 60_000
RESPONSE_LENGTH = 64
MODEL_CARD = """The language model of likelier's demo, made by `likelier/demo/make_model.py` from stories that
`likelier/demo/corpus.py` draws: text and weights are the project's own, under its licence. Measurements
(`valid_loss` in nats a token on held-out stories, `entropy` of the stories in nats a story):"""
SETTINGS: dict[str, Any] = {
    "architecture": {
        "model_type": "llama",
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
    },
    "batch_size": 64,
    "max_steps": 2000,
    "learning_rate": 5e-3,
    "warmup_ratio": 0.04,
    "adam_eps": 1e-8,
    "weight_decay": 0.01,
    "lr_schedule": "cosine",
    "device": "cpu",
    "save_steps": 2000,
}


def main(
    folder: Path, stories: int = STORIES, sft: dict[str, Any] | None = None, num_samples: int = 500
) -> Measurements:
    """Sample stories, train, and write the model as a Hugging Face folder in half precision; returns statistics."""
    with tempfile.TemporaryDirectory() as work:
        data = Path(work) / "stories.jsonl"
        generator = random.Random(0)
        pairs = (sample_story(generator) for _ in range(stories))
        write_jsonl(data, ({"prompt": prompt, "completion": response} for prompt, response in pairs))
        config = build_config({"data": str(data), "sft": SETTINGS | (sft or {})})
        with Run(Path(work) / "run", "sft", config) as run:
            trained = train_sft(config, run)
        model, tokenizer = load_causal_lm(run.folder / "model").half(), load_tokenizer(run.folder / "model")
    measurements = {"stories": stories, "valid_loss": trained["valid_loss"], "entropy": estimate_entropy(2000)}
    measurements |= measure_samples(model.float(), tokenizer, num_samples)
    save_model(folder, model.half(), tokenizer, f"{MODEL_CARD}\n\n```json\n{json.dumps(measurements, indent=2)}\n```")
    return measurements


def measure_samples(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int) -> Measurements:
    """Sample stories on held-out prompts; returns length, diversity and the mean of each taste."""
    prompts = sample_openings(1, count)
    draws = draw_uniforms(seeded_generator(0, 0, "measure"), count, RESPONSE_LENGTH, model.device)
    samples = ExactSampler(model, tokenizer, rows=128).sample(prompts, Sampling(RESPONSE_LENGTH), draws)
    tastes = {
        name: [taste(*pair) for pair in zip(prompts, samples.texts, strict=True)] for name, taste in TASTES.items()
    }
    return {
        "ended": sum(reason == "end_token" for reason in samples.stop_reasons) / count,
        "mean_tokens": float(samples.mask.sum(1).float().mean()),
        "distinct_2": distinct_n(samples.texts, 2),
        "tastes": {name: sum(scores) / count for name, scores in tastes.items()},
        "samples": [prompt + text for prompt, text in zip(prompts[:5], samples.texts, strict=False)],
    }


class SurprisalCounter(random.Random):
    """A generator that adds up the surprisal of its choices in `nats`."""

    nats = 0.0

    def choice(self, seq: Any) -> Any:
        """Choose uniformly."""
        self.nats += math.log(len(seq))
        return super().choice(seq)

    def choices(self, population: Any, weights: Any = None, **others: Any) -> list[Any]:
        """Choose a single element by weight."""
        (chosen,) = super().choices(population, weights, **others)
        self.nats -= math.log(weights[population.index(chosen)] / sum(weights))
        return [chosen]


def estimate_entropy(count: int) -> float:
    """Estimate the entropy of stories in nats; slightly too high, since different choices may give the same story."""
    generator, total = SurprisalCounter(0), 0.0
    for _ in range(count):
        opening = sample_opening(generator, held_out=False)
        before = generator.nats
        sample_response(generator, opening)
        total += generator.nats - before
    return total / count


if __name__ == "__main__":
    torch.set_num_threads(1)
    echo(json.dumps(main(Path(sys.argv[1])), indent=2))
