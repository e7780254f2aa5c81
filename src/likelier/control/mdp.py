"""Re-exports `TabularMDP` (mdp/exact.py) under its public path."""

from likelier.mdp.exact import TabularMDP

__all__ = ["TabularMDP"]
