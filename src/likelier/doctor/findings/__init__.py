"""The doctor's findings: one small function of a run's metrics each, grouped by the metrics that they read."""
