"""Evaluation of a model: win rate against the old one, distance from it, over-optimisation."""
