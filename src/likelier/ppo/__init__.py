"""Proximal policy optimisation as functions of tensors, independent of text and environments."""
