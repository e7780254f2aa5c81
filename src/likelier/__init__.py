"""People compare a language model's answers; Likelier makes the answers they prefer likelier."""

__version__ = "0.1.0"
