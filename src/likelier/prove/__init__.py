"""Proof by tabular language models: where each algorithm and KL estimator ends, beside the exact optimum."""
