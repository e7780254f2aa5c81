"""PPO bugs, reproduced: a small config for each finding of the doctor that causes it."""
