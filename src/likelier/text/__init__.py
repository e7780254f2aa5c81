"""Language models: tokens, folders, sampling, log-probabilities."""
