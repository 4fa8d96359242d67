"""A website on this machine that does whatever a test wants of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

HTML = "text/html; charset=utf-8"


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    type: str | None = HTML
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Raw = Callable[[asyncio.StreamWriter], Awaitable[None]]
Handler = Callable[[Asked], "Answer | Raw"]


@dataclass
class Site:
    """Pages by their paths; whatever is asked for is noted."""

    port: int = 0
    pages: dict[str, Answer | Raw | Handler] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    scheme: str = "http"
    host: str = "127.0.0.1"

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://{self.host}:{self.port}{path}"

    @property
    def allow(self) -> str:
        return f"127.0.0.1:{self.port}"

    def page(self, path: str, *links: str, title: str | None = None, text: str = "") -> None:
        """A page with a title, a text of its own, and links."""
        self.pages[path] = Answer(html(title or f"Page {path}", text or about(path), *links))

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        self.pages[path] = Answer(status=status, headers={"Location": to})

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
            asked = Asked(head[0].split(" ")[1], {k.lower(): v for k, v in headers.items()})
            self.asked.append(asked)
            await self._answer(asked, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        page = self.pages.get(asked.target) or self.pages.get(asked.path)
        if page is None:
            page = Answer(b"nothing here", 404, "text/plain")
        if not isinstance(page, Answer) and not asyncio.iscoroutinefunction(page):
            page = page(asked)  # type: ignore[call-arg, arg-type, assignment]
        if not isinstance(page, Answer):
            await page(writer)  # type: ignore[arg-type, misc]
            return
        headers = {"Content-Length": str(len(page.body)), "Connection": "close", **page.headers}
        if page.type is not None:
            headers = {"Content-Type": page.type, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {page.status} X\r\n{lines}\r\n".encode("latin-1") + page.body)
        await writer.drain()


def about(path: str) -> str:
    return " ".join(
        f"This is sentence {number} of the page at {path}, and it tells of quires and leaves."
        for number in range(6)
    )


def html(title: str, text: str, *links: str, head: str = "") -> bytes:
    listed = "".join(f'<li><a href="{link}">to {link}</a></li>' for link in links)
    return (
        f"<!doctype html><html lang=en><head><title>{title}</title>{head}</head><body>"
        f"<nav>Home Products About</nav><article><h1>{title}</h1><p>{text}</p></article>"
        f"<ul>{listed}</ul></body></html>"
    ).encode()


@asynccontextmanager
async def website(
    tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Site]:
    """A site that is up as long as the block lasts."""
    site = Site(scheme="https" if tls else "http", host=host)
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=tls, limit=2**20)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
