"""A score for a response: learned from preferences, or brought along."""
