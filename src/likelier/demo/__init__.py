"""The whole circle with an embedded model and a simulated panel."""
