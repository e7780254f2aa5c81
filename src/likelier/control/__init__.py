"""Classic reinforcement learning on the same PPO: Gymnasium environments."""
