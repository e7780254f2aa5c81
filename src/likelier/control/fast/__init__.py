"""Fast paths for small networks, tested for equality with the definitions."""
