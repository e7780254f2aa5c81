"""The script that made `model/`: a word tokenizer and a small Llama, trained on stories of `corpus.py`.

python -m likelier.demo.make_model OUT_FOLDER
"""

import random
import re
import sys
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from likelier.demo.corpus import draw_story
from likelier.text.models import save_model
from likelier.text.tokens import pad_right

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
STORIES, BATCH, STEPS, LEARNING_RATE = 60_000, 64, 1500, 3e-3


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """One token a word (with the blank before it, `▁word`) and one a full stop."""
    words = sorted({word for text in texts for word in re.findall(r"[^\s.]+", text)})
    names = [*SPECIALS, ".", *(f"▁{word}" for word in words)]
    tokenizer = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="<unk>"))
    blanks = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([blanks, pre_tokenizers.Split(Regex(r"\."), "isolated")])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def make_model(vocab_size: int) -> LlamaForCausalLM:
    """Half a million parameters."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=96,
            intermediate_size=288,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def train(model: LlamaForCausalLM, stories: list[list[int]], steps: int) -> float:
    """Plain next-token training with a linear schedule; the mean loss of the last hundred steps, in nats a token."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    draw, losses = random.Random(0), []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50) * (1 - step / steps)
        tokens, mask = pad_right(draw.sample(stories, BATCH), pad=0)
        logits = model(input_ids=tokens, attention_mask=mask.long()).logits[:, :-1]
        loss = F.cross_entropy(logits[mask[:, 1:]], tokens[:, 1:][mask[:, 1:]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 200 == 0:
            print(f"step {step}: {loss.item():.3f} nats a token", file=sys.stderr)
    return sum(losses[-100:]) / len(losses[-100:])


def main(folder: Path, steps: int = STEPS, count: int = STORIES) -> float:
    """Make tokenizer and model and write them as a Hugging Face folder, in half precision."""
    draw = random.Random(0)
    texts = ["".join(draw_story(draw)) for _ in range(count)]
    tokenizer = make_tokenizer(texts)
    rows = [[1, *row, 2] for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    model = make_model(len(tokenizer))
    loss = train(model, rows, steps)
    card = f"Trained by likelier/demo/make_model.py on {count} generated stories ({loss:.3f} nats a token)."
    save_model(folder, model.half(), tokenizer, card)
    return loss


if __name__ == "__main__":
    main(Path(sys.argv[1]))
