"""The numbered steps by which the tables of the feedback database came to be (Alembic)."""
