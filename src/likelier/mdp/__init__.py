"""Tabular MDPs: solved exactly, and learned from samples beside the exact answer."""
