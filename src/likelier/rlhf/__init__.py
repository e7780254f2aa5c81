"""PPO on a language model: the training loop, its rollouts, and how scores become rewards."""
