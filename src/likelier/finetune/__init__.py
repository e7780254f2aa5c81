"""Fine-tuning without sampling: SFT, also of a small model from scratch, and DPO."""
