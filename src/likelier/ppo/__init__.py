"""Proximal policy optimisation as functions of tensors: it has never heard of tokens or environments."""
