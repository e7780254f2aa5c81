"""Run folders: logs, checkpoints, locks, signals."""
