"""Services of others that are asked over HTTP: scores, verdicts, answers."""
