"""Evaluation of a model: win rate against the old one, KL from it, over-optimisation."""
