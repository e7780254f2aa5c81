"""Scores of responses: reward models and their training, Python functions, HTTP services."""
