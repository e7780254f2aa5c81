"""Human feedback: database, file formats, quality check, simulated annotators."""
