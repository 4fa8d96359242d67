"""The change feed ends when it is told to, at whatever moment that is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from quire.store import Database

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.postgres
async def test_it_closes_at_any_moment(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a feed that beats all the time, so that most moments are in the middle of a beat
    monkeypatch.setattr("quire.store.feed.BEAT_SECONDS", 0.001)
    database = Database.postgres(postgres_url)
    heard: Callable[[str | None], None] = lambda name: None  # noqa: E731
    try:
        slow = 0
        for turn in range(60):
            feed = database.feed("quire_test", heard)
            feed.open()
            while turn % 4 and not feed.is_sure:
                await asyncio.sleep(0.001)
            await asyncio.sleep(turn * 0.0003)
            # when it is closed, then it is soon over
            started = time.monotonic()
            await feed.close()
            slow += time.monotonic() - started > 0.8
            assert not feed.is_sure
        assert slow < 6  # the machine may be busy now and then
    finally:
        await database.close()
