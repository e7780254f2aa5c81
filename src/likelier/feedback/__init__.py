"""What people answered: stored, checked, simulated."""
