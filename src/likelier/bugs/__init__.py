"""Reproductions of PPO bugs: for each finding of the doctor a small config that triggers it."""
