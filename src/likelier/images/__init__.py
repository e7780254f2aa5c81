"""Pictures from a small diffusion model, fine-tuned by PPO on functions, classifiers or people's comparisons."""
