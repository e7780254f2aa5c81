"""What exists only for the speed of small networks, held to the definitions by tests."""
