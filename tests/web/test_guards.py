"""Requests wait for their turn, each person for their own."""

import asyncio

import pytest
from fastapi import HTTPException

from likelier.web import guards
from likelier.web.guards import Pace


def test_what_is_more_than_the_pace_waits_or_is_refused(monkeypatch):
    """Two at once and then two a second, by a clock that stands: turns at -1, -1/2, 0, 1/2, ..., 5 seconds."""
    waited = []

    async def note(seconds):
        waited.append(seconds)

    async def ask():
        pace = Pace(2, 2)
        for _ in range(13):
            await pace.wait("ann")
        with pytest.raises(HTTPException) as caught:
            await pace.wait("ann")
        await pace.wait("bob")
        return caught.value.status_code

    monkeypatch.setattr(guards.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(guards.asyncio, "sleep", note)
    assert asyncio.run(ask()) == 429
    assert waited == [0.0, 0.0, *(number / 2 for number in range(11)), 0.0]
