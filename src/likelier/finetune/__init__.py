"""Fine-tuning without sampling: SFT, optionally of a small model from scratch, and DPO."""
