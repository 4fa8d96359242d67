"""What following sessions costs: memory for those who listen, and how soon they hear."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from httpx import URL

from tests.bench.client import headers
from tests.bench.serving import Served, serve
from tests.bench.sessions import Figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MEGABYTES_GOAL = 150.0
# A comment would do as well, but nothing comes unasked while it is measured.
QUIET = {"QUIRE_EVENTS_HEARTBEAT_SECONDS": "600"}


@dataclass(frozen=True)
class Sizes:
    subscribers: int = 500
    sessions: int = 10
    events: int = 100


QUICK = Sizes(subscribers=50, sessions=5, events=10)


def measure(environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """All figures of one backend."""
    with serve({**environment, **QUIET}, empty_route=False) as served:
        yield from asyncio.run(_followed(served, sizes))


async def _followed(served: Served, sizes: Sizes) -> list[Figure]:
    async with httpx.AsyncClient(base_url=served.url, headers=headers(), timeout=60) as client:
        ids = [await _made(client) for _ in range(sizes.sessions)]
        for session_id in ids:  # what changing them takes is there before it is measured
            await _rename(client, session_id, "warm")
        before = served.rss_megabytes
        async with AsyncExitStack() as stack:
            listeners = [
                await stack.enter_async_context(_listening(served.url, ids[at % len(ids)]))
                for at in range(sizes.subscribers)
            ]
            took = []
            for number in range(sizes.events):
                started = time.perf_counter()
                session_id = ids[number % len(ids)]
                await _rename(client, session_id, f"name {number}")
                mine = [it for it in listeners if it.session_id == session_id]
                await asyncio.gather(*(listener.heard() for listener in mine))
                took.append((time.perf_counter() - started) * 1000)
            growth = served.rss_megabytes - before
    each = sizes.subscribers // sizes.sessions
    return [
        Figure(
            f"memory of {sizes.subscribers} subscribers",
            f"{growth:.1f} MB",
            f"≤ {MEGABYTES_GOAL:.0f} MB",
            growth <= MEGABYTES_GOAL,
        ),
        Figure(
            f"from a change's request until the last of {each} has heard of it, p50",
            f"{statistics.median(took):.1f} ms",
            "–",
            True,
        ),
    ]


class _Listener:
    def __init__(self, session_id: str, reader: asyncio.StreamReader) -> None:
        self.session_id = session_id
        self._reader = reader

    async def heard(self) -> None:
        """The next event."""
        while not (await self._reader.readline()).startswith(b"event: "):
            if self._reader.at_eof():
                raise RuntimeError("the stream ended")


@asynccontextmanager
async def _listening(url: str, session_id: str) -> AsyncIterator[_Listener]:
    address = URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    fields = {"Host": address.host, **headers()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"GET /sessions/{session_id}/events HTTP/1.1\r\n{head}\r\n".encode())
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(status.decode())
        while not (await reader.readline()).startswith(b"id: "):
            pass
        yield _Listener(session_id, reader)
    finally:
        writer.close()


async def _made(client: httpx.AsyncClient) -> Any:
    return (await client.post("/sessions", json={"name": "s"})).raise_for_status().json()["id"]


async def _rename(client: httpx.AsyncClient, session_id: str, name: str) -> None:
    (await client.patch(f"/sessions/{session_id}", json={"name": name})).raise_for_status()
