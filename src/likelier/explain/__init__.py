"""What a reward model learned, from whom, and what more judgements would bring."""
