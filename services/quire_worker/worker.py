"""A process that takes jobs from the database and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import structlog

from quire.app import Part, Quire
from quire.errors import ConfigurationError
from quire.settings import Settings

log = structlog.get_logger(__name__)

READY_PAUSE_SECONDS = 0.25


async def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run jobs; at SIGTERM or SIGINT running steps are finished or parked, and it returns.

    `announce` gets one line, when every part answers and jobs are taken up.
    """
    require_servers(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _ask_to_stop, stop, number)
    async with Quire.open(settings, Part.WORKER) as quire:
        work = await _until_ready(quire, stop)
        if work is not None:
            announce(f"Quire worker is ready: {work}, {settings.jobs.concurrency} jobs at once")
        await stop.wait()


def require_servers(settings: Settings) -> None:
    """Refuse what a worker could not share with the API."""
    shared = {
        "QUIRE_DATABASE_URL": (settings.database.url, "postgresql+psycopg://user:password@host/db"),
        "QUIRE_QDRANT_URL": (settings.qdrant.url, "http://host:6333"),
    }
    missing = {name: example for name, (value, example) in shared.items() if value is None}
    if missing:
        raise ConfigurationError(
            f"`quire worker` needs {' and '.join(missing)}: it shares them with the API",
            recovery="On one machine none is needed: `quire serve` runs the jobs itself. "
            "Otherwise set, here and for the API, "
            f"{' and '.join(f'{name}={example}' for name, example in missing.items())}.",
        )


async def _until_ready(quire: Quire, stop: asyncio.Event) -> str | None:
    said: dict[str, str] = {}
    while not stop.is_set():
        readiness = await quire.ready()
        if readiness.is_ready:
            return readiness.parts["jobs"]
        if readiness.failures != said:
            said = readiness.failures
            log.warning("not ready yet", **said)
        try:
            async with asyncio.timeout(READY_PAUSE_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue
    return None


def _ask_to_stop(stop: asyncio.Event, number: signal.Signals) -> None:
    log.info("stopping", signal=number.name)
    if stop.is_set() and number is signal.SIGINT:
        os._exit(128 + number)
    stop.set()
