"""Preferences: cleaned, weighted pairs made from judgements, split by conversation."""
