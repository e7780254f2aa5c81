"""Shared by every training loop: setup (device, seeds, optimizer, schedule), the numeric guard, state on disk."""
