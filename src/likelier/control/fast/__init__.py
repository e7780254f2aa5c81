"""Fast paths for small networks; tests compare them with the definitions."""
