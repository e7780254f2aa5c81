"""Check of algorithms and KL estimators on tabular language models: where training ends, and the exact optimum."""
