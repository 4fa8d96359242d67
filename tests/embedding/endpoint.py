"""An OpenAI-compatible embedding server of the tests' own, real sockets and all, with faults."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from quire.embedding.fake import FakeProvider
from tests.backends.ports import LOOPBACK, free_ports

Fault = Callable[[Request, list[dict[str, Any]]], Awaitable[Response]]
"""Answers in place of the server; it is given what the server would have answered."""


@dataclass(slots=True)
class Asked:
    """One request, as the server saw it."""

    at: float
    texts: list[str]
    model: str
    authorization: str | None


@dataclass
class EmbeddingServer:
    """Serves the fake's vectors, at any length; `faults` answer first, one request each."""

    port: int
    model: FakeProvider = field(default_factory=lambda: FakeProvider(64, window=100_000))
    encoding: str | None = None  # None: as it is asked
    seconds: float = 0.0  # that each answer takes
    faults: deque[Fault] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/v1"

    def forget(self) -> None:
        """Begin anew, as if nothing had been asked."""
        self.faults.clear()
        self.asked.clear()
        self.most_running = 0

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        texts, encoding = body["input"], self.encoding or body.get("encoding_format", "float")
        key = request.headers.get("authorization")
        self.asked.append(Asked(time.monotonic(), texts, body["model"], key))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            data = [
                {"object": "embedding", "index": index, "embedding": encoded(vector, encoding)}
                # Longer than 1, as many models answer.
                for index, vector in enumerate(self.model.vectors(texts) * 3)
            ]
            if self.faults:
                return await self.faults.popleft()(request, data)
            await asyncio.sleep(self.seconds)
            # Order is what `index` is for.
            return listed(data[::-1])
        finally:
            self.running -= 1


def encoded(vector: Sequence[float] | np.ndarray[Any, Any], encoding: str) -> str | list[float]:
    """A vector as it travels."""
    single = np.asarray(vector, "<f4")
    return base64.b64encode(single.tobytes()).decode() if encoding == "base64" else single.tolist()


def listed(data: list[dict[str, Any]]) -> Response:
    """A whole answer."""
    return JSONResponse({"object": "list", "data": data, "model": "fake"})


def status(code: int, text: str = "", **headers: str) -> Fault:
    """Answer with a failure; `retry_after` becomes its header."""

    async def fault(request: Request, data: list[dict[str, Any]]) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(text, code, headers=named)

    return fault


def hang(seconds: float = 30.0) -> Fault:
    """Answer late, unless the asker goes away."""

    async def fault(request: Request, data: list[dict[str, Any]]) -> Response:
        gone = time.monotonic() + seconds
        while time.monotonic() < gone and not await request.is_disconnected():
            await asyncio.sleep(0.01)
        return listed(data)

    return fault


def instead(change: Callable[[list[dict[str, Any]]], Any]) -> Fault:
    """Answer with something else made of what would have been answered."""

    async def fault(request: Request, data: list[dict[str, Any]]) -> Response:
        return listed(change(data))

    return fault


@contextmanager
def embedding_server(**given: Any) -> Iterator[EmbeddingServer]:
    """A server in a thread of its own, on a free port of the loopback."""
    (port,) = free_ports(1)
    served = EmbeddingServer(port, **given)
    app = Starlette(routes=[Route("/v1/embeddings", served.answer, methods=["POST"])])
    config = uvicorn.Config(
        app, LOOPBACK, port, log_config=None, ws="none", lifespan="off", loop="asyncio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="embedding-server")
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield served
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
