"""`TabularMDP` under the name that users script against; it lives in `mdp/exact.py`."""

from likelier.mdp.exact import TabularMDP

__all__ = ["TabularMDP"]
