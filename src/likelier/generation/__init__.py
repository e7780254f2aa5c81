"""Responses written while people judge, by a process of its own."""
