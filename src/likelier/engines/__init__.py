"""Inference engines and servers as sources of responses, beside our own sampler."""
