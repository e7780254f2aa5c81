"""Numbered migrations of the feedback database (Alembic)."""
