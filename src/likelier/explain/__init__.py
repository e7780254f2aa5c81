"""Explanations of a reward model: its lessons, their teachers, and the gain from more judgements."""
