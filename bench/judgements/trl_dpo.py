"""TRL's DPO on a file of pairs; run in an environment that has trl: trl_dpo.py MODEL PAIRS.jsonl OUT SEED."""

import sys

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

model, pairs, out, seed = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
settings = DPOConfig(
    output_dir=f"{out}-run", seed=int(seed), per_device_train_batch_size=32, num_train_epochs=3, learning_rate=1e-4,
    beta=0.1, report_to=[], save_strategy="no", use_cpu=True, max_length=128,
)  # fmt: skip
trainer = DPOTrainer(
    AutoModelForCausalLM.from_pretrained(model),
    args=settings,
    train_dataset=load_dataset("json", data_files=pairs, split="train"),
    processing_class=tokenizer,
)
trainer.train()
trainer.save_model(out)
tokenizer.save_pretrained(out)
