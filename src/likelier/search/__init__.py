"""Hyperparameter search: grid or random trials, cross-validation, ranking with intervals."""
