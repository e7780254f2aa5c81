"""Models of how people answer, which several stages share."""
