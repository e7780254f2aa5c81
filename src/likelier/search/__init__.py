"""Hyperparameter search: trials from a grid or at random, cross-validation, a ranking with intervals."""
