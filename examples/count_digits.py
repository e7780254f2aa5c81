"""A vision-language model, made from nothing, that counts and names the digits in a picture; corrected by PPO.

    python examples/count_digits.py [--seed 0] [--out count-digits]

A picture of 30 x 30 points holds one to three of scikit-learn's handwritten digits, each somewhere in one of nine
fields. The right answer to "Which?" is their number and their names in order, `2:37`. A LLaVA of 0.2 million
parameters learns a little from answers that are told (SFT, a plain loop: `likelier sft` reads texts), and the rest from
PPO, which is told right or wrong. Test pictures are of digits that neither has seen.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import likelier
from likelier.candidates import write_candidates

FIELD, SIDE, MOST = 10, 2, 3
TEMPLATE = (
    "{% for turn in messages %}{% for part in turn.content %}{% if part.type == 'image' %}<image>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
)


def draw_pictures(digits: Any, count: int, folder: Path, rng: np.random.Generator) -> Path:
    """Write `count` pictures of `digits` (pixels, labels), and a prompt file with the right answers as `reference`."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = digits
    lines = []
    for number in range(count):
        canvas = np.zeros((FIELD * SIDE, FIELD * SIDE))
        chosen = rng.choice(len(labels), rng.integers(1, MOST + 1), replace=False)
        for place, digit in zip(rng.choice(SIDE**2, len(chosen), replace=False), chosen, strict=True):
            top, left = np.array(divmod(place, SIDE)) * FIELD + rng.integers(0, FIELD - 7, 2)
            canvas[top : top + 8, left : left + 8] = pixels[digit]
        Image.fromarray((canvas * 255 / 16).astype("uint8")).save(folder / f"{number}.png")
        content = [{"type": "image", "path": f"{folder.name}/{number}.png"}, {"type": "text", "text": "Which?"}]
        answer = f"{len(chosen)}:{''.join(sorted(map(str, labels[chosen])))}"
        lines.append({"prompt": [{"role": "user", "content": content}], "reference": answer})
    path = folder.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def make_model(folder: Path, seed: int) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A LLaVA with random weights and its processor; each field of a picture is one patch."""
    names = ["<pad>", "</s>", "<image>", *"0123456789:Whic?"]
    words = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="<pad>"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Split(Regex("."), "isolated"), decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    size = FIELD * SIDE
    images = CLIPImageProcessorPil(size={"height": size, "width": size}, do_center_crop=False)
    strategy = {"vision_feature_select_strategy": "default", "patch_size": FIELD}
    processor = LlavaProcessor(
        images, tokenizer, **strategy, num_additional_image_tokens=1, image_token="<image>", chat_template=TEMPLATE
    )
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**shape, num_hidden_layers=2, image_size=size, patch_size=FIELD),
        text_config=LlamaConfig(**shape, num_hidden_layers=2, vocab_size=len(names), eos_token_id=1),
        image_token_index=2,
        image_seq_length=SIDE**2,
        vision_feature_layer=-1,
    )
    torch.manual_seed(seed)
    return LlavaForConditionalGeneration(config), processor


def learn_answers(model: Any, processor: Any, prompts: Path, steps: int, rng: np.random.Generator) -> None:
    """SFT: cross-entropy of the right answers of a prompt file, in `steps` batches of 64."""
    lines = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    images = [[Image.open(prompts.parent / line["prompt"][0]["content"][0]["path"])] for line in lines]
    texts = [f"<image>Which?{line['reference']}</s>" for line in lines]
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, padding_side="right")
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, : SIDE**2 + len("Which?")] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 40))
    for _ in range(steps):
        rows = torch.from_numpy(rng.choice(len(lines), 64))
        loss = model(**{name: tensor[rows] for name, tensor in inputs.items()}, labels=labels[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    print(f"SFT: {steps} steps, loss {loss.item():.3f}")


def measure(model: Path, prompts: Path, out: Path) -> float:
    """Share of test pictures whose answer, sampled at temperature 1, is right."""
    write_candidates(str(model), prompts, 1, out, response_length=6, batch_size=256, device="cpu")
    pairs = zip(out.read_text().splitlines(), prompts.read_text().splitlines(), strict=True)
    right = [json.loads(given)["responses"][0]["text"] == json.loads(line)["reference"] for given, line in pairs]
    return sum(right) / len(right)


def main() -> None:
    """Make pictures and model, learn, correct, and print the share of right answers before and after."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("count-digits"))
    parser.add_argument("--sft-steps", type=int, default=400)
    parser.add_argument("--ppo-steps", type=int, default=150)
    options = parser.parse_args()
    out, rng = options.out, np.random.default_rng(options.seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    seen, unseen = ((digits.images[rows], digits.target[rows]) for rows in (order[:1300], order[1300:]))
    told, asked, test = (
        draw_pictures(source, count, out / name, rng)
        for source, count, name in ((seen, 1000, "told"), (seen, 2000, "asked"), (unseen, 500, "test"))
    )
    model, processor = make_model(out, options.seed)
    learn_answers(model, processor, told, options.sft_steps, rng)
    model.save_pretrained(out / "start")
    processor.save_pretrained(out / "start")
    before = measure(out / "start", test, out / "before.jsonl")
    ppo = {"batch_size": 128, "total_episodes": 128 * options.ppo_steps, "response_length": 6, "num_mini_batches": 2}
    ppo |= {"num_ppo_epochs": 2, "learning_rate": 2e-4, "kl_coef": 0.0, "device": "cpu"}
    ppo |= {"critic_learning_rate": 1e-3, "critic_warmup_steps": min(5, options.ppo_steps // 2)}
    likelier.train_ppo(
        {"model": str(out / "start"), "prompts": str(asked), "seed": options.seed, "ppo": ppo},
        reward="likelier.reward.functions:exact_match",
        out=out / "ppo",
    )
    after = measure(out / "ppo" / "model", test, out / "after.jsonl")
    size = len(test.read_text(encoding="utf-8").splitlines())
    print(f"right on {size} unseen pictures: {before:.3f} after SFT, {after:.3f} after PPO")


if __name__ == "__main__":
    main()
