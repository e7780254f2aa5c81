"""Plan of a run before it begins: memory by part, time, tokens, cost, and the settings to change."""
