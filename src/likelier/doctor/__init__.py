"""The doctor: named findings of what is wrong with a run, or will be with one that has not begun."""
