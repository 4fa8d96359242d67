"""`/mcp`: the server by streamable HTTP, inside the API's process and behind its layers.

What it stands on takes two seconds and forty megabytes to load; so that is done when the first
agent comes, and beside what else is going on.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from quire.app import Quire
from quire.errors import Forbidden


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
        self._check_origin(scope)
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

    def _check_origin(self, scope: Scope) -> None:
        """Without tokens, no page of another site may talk to this machine's server.

        A browser says which page asks; DNS that changes its answer does not change that.
        """
        if self._quire.settings.auth.configured:
            return
        for name, value in scope["headers"]:
            if name == b"origin" and not _is_here(value.decode("latin-1")):
                raise Forbidden(
                    "Pages of other origins may not use this server",
                    recovery="Open the page from this machine, or configure authentication.",
                )


def _is_here(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _load() -> Callable[[Quire], AbstractAsyncContextManager[ASGIApp]]:
    from quire_mcp.streaming import serve

    return serve
