"""What can be wrong with a PPO run: one small function of its metrics for each finding, grouped by what they read."""
