"""Tabular MDPs: exact solutions, and learning algorithms compared with them."""
