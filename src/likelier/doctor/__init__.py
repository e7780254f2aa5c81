"""The doctor: named findings about a run, or about a config before its run."""
