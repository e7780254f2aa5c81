"""Looking for good settings of one stage: trials, folds, many processes, a ranking."""
