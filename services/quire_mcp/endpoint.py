"""`/mcp`: the server by streamable HTTP, inside the API's process and behind its layers.

What it stands on takes two seconds and forty megabytes to load; so that is done when the first
agent comes, and beside what else is going on.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from quire.app import Quire


class Endpoint:
    """The ASGI app at `/mcp`; `scope["principal"]` says who calls."""

    def __init__(self, quire: Quire) -> None:
        self._quire = quire
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[ASGIApp] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, quire: Quire) -> AsyncIterator[Endpoint]:
        """The endpoint of a running Quire; at the end of the block its streams are cut off."""
        endpoint = cls(quire)
        try:
            yield endpoint
        finally:
            await endpoint._close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        served = await self._served()
        await served(scope, receive, send)

    async def _served(self) -> ASGIApp:
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(self._opened), name="mcp")
        return await asyncio.shield(self._opened)

    async def _run(self, opened: asyncio.Future[ASGIApp]) -> None:
        try:
            serve = await asyncio.to_thread(_load)
            async with serve(self._quire) as served:
                opened.set_result(served)
                await self._closing.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)
            self._opened = None  # the next agent tries again

    async def _close(self) -> None:
        self._closing.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


def _load() -> Callable[[Quire], AbstractAsyncContextManager[ASGIApp]]:
    from quire_mcp.streaming import serve

    return serve
