"""Which comparison teaches most: acquisition strategies, and the process that computes them while people judge."""
