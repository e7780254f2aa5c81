"""The doctor's findings: one small function of a run's metrics for each, grouped by the metrics they read."""
