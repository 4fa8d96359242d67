"""Waiting until every part answers, before a command does anything."""

from __future__ import annotations

import asyncio
import time

from quire.app import Quire
from quire.errors import Unavailable

READY_SECONDS = 15.0
PAUSE_SECONDS = 0.1


async def until_ready(quire: Quire, *, undone: str) -> None:
    """Return when all of it is there; raises, saying what was not done, when it takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while not (readiness := await quire.ready()).is_ready:
        if time.monotonic() > deadline:
            told = "; ".join(f"{name}: {words}" for name, words in readiness.failures.items())
            raise Unavailable(
                f"Not every part answers, so nothing was {undone} ({told})",
                recovery="`quire doctor` tells what to do.",
            )
        await asyncio.sleep(PAUSE_SECONDS)
