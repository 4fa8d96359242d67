"""A load from a second process: keep-alive connections that each ask as fast as answers come."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Timings:
    """What a run of requests took, in milliseconds."""

    p50: float
    p95: float
    per_second: float


@dataclass(frozen=True)
class Request:
    """What to ask for, where it is not always the same."""

    path: str
    body: bytes | None = None


async def sequential(url: str, headers: dict[str, str], count: int) -> Timings:
    """One request after the other on one connection."""
    times: list[float] = []
    async with _Connection(url, headers) as connection:
        for _ in range(min(20, count)):
            await connection.ask()
        for _ in range(count):
            started = time.perf_counter()
            await connection.ask()
            times.append((time.perf_counter() - started) * 1000)
    return _timings(times, sum(times) / 1000)


async def one_by_one(
    url: str, headers: dict[str, str], requests: Sequence[Request]
) -> tuple[Timings, list[bytes]]:
    """Different requests, one after the other on one connection; with their answers."""
    times: list[float] = []
    answers: list[bytes] = []
    async with _Connection(url, headers) as connection:
        for request in requests:
            started = time.perf_counter()
            answers.append(await connection.ask(request))
            times.append((time.perf_counter() - started) * 1000)
    return _timings(times, sum(times) / 1000), answers


async def saturating(
    url: str,
    headers: dict[str, str],
    seconds: float,
    width: int = 16,
    request: Request | None = None,
) -> Timings:
    """As many requests as the server can take on this many connections."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def ask_on() -> None:
        async with _Connection(url, headers) as connection:
            while (started := time.perf_counter()) < until:
                await connection.ask(request)
                times.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(ask_on() for _ in range(width)))
    return _timings(times, time.perf_counter() - started)


def _timings(times: list[float], seconds: float) -> Timings:
    ordered = sorted(times)
    return Timings(
        p50=statistics.median(ordered),
        p95=ordered[int(len(ordered) * 0.95)],
        per_second=len(ordered) / seconds,
    )


class _Connection:
    """A raw HTTP/1.1 connection: a full client would be slower than what it measures."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        lines = [f"Host: {self._host}", *(f"{name}: {value}" for name, value in headers.items())]
        self._headers = "".join(f"{line}\r\n" for line in lines)
        self._usual = self._written(
            Request(parts.path + (f"?{parts.query}" if parts.query else ""))
        )

    async def __aenter__(self) -> _Connection:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, request: Request | None = None) -> bytes:
        """GET the URL, or make another request; answers the body."""
        self._writer.write(self._usual if request is None else self._written(request))
        head = await self._reader.readuntil(b"\r\n\r\n")
        at = head.lower().index(b"content-length:") + len(b"content-length:")
        body = await self._reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise RuntimeError((head + body).decode())
        return body

    def _written(self, request: Request) -> bytes:
        if request.body is None:
            return f"GET {request.path} HTTP/1.1\r\n{self._headers}\r\n".encode()
        own = f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n"
        head = f"POST {request.path} HTTP/1.1\r\n{self._headers}{own}\r\n"
        return head.encode() + request.body
