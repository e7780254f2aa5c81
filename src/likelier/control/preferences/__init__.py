"""Reinforcement learning from comparisons of clips instead of a reward (Christiano et al. 2017)."""
