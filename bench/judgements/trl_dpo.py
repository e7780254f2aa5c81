"""TRL's DPO on a file of pairs; run in an environment that has trl: trl_dpo.py MODEL PAIRS.jsonl OUT SEED EPOCHS."""

import sys

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

model, pairs, out, seed, epochs = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
settings = DPOConfig(
    output_dir=out, seed=int(seed), per_device_train_batch_size=32, num_train_epochs=int(epochs), learning_rate=5e-4,
    beta=0.05, report_to=[], save_strategy="steps", save_steps=10, save_only_model=True, use_cpu=True, bf16=False,
    max_length=128,
)  # fmt: skip
trainer = DPOTrainer(
    AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
    args=settings,
    train_dataset=load_dataset("json", data_files=pairs, split="train"),
    processing_class=tokenizer,
)
trainer.train()
