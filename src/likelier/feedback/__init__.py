"""Human feedback: its database and file formats, its check, simulated annotators."""
