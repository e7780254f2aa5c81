"""The demo: the whole circle with an embedded model and simulated annotators."""
