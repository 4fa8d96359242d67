"""The web, as far as it may be fetched from: one call for a page, whatever stands in its way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields

import httpcore
import httpx

from quire.errors import AddressRefused, FetchFailed, LimitExceeded, UnsupportedMedia
from quire.settings import WebSettings
from quire.store.columns import now
from quire.web import address as addresses
from quire.web.address import Address
from quire.web.charset import parse_content_type
from quire.web.connection import requested
from quire.web.fetched import Answer, Arriving, Fetched, is_readable
from quire.web.guard import Guard, Resolver, SystemResolver
from quire.web.inflating import BrokenEncodingError, Decoding, decoding_of

AT_ONCE = 32
"""Fetches in one process; more wait. With the largest page it bounds the memory they take."""

_REDIRECTS = frozenset([301, 302, 303, 307, 308])


class Web:
    """Fetches on behalf of callers, who may name any address there is.

    Each address, also of every redirect, is checked by the `Guard`, and what was checked is what
    is connected to. Time and size are bounded while the answer arrives.
    """

    def __init__(
        self,
        settings: WebSettings,
        *,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._resolver = resolver or SystemResolver()
        self._guard = Guard(settings.allow, self._resolver)
        self._tls = tls
        self._room = asyncio.Semaphore(AT_ONCE)

    @property
    def settings(self) -> WebSettings:
        return self._settings

    def close(self) -> None:
        """Let go of what looks names up."""
        self._resolver.close()

    async def check(self, url: str) -> None:
        """Raise `AddressRefused` for what is not even tried; a fetch may still find more."""
        self._require_enabled()
        address = addresses.parse(url)
        with _told(str(address)):
            async with asyncio.timeout(self._settings.page_seconds):
                await self._guard.addresses(address)

    async def fetch(
        self,
        url: str,
        *,
        accepts: Callable[[str], bool] = is_readable,
        may_follow: Callable[[Address], bool] | None = None,
    ) -> Fetched:
        """A page, whole. `accepts` says of a media type whether it is wanted at all.

        Raises `AddressRefused` for what may not be fetched, `UnsupportedMedia` for what is not
        wanted, `LimitExceeded` for what is too large, and `FetchFailed` for everything else; that
        has `cause` and, where it was answered, `http_status` in its details.
        """
        async with self.stream(url, accepts=accepts, may_follow=may_follow) as arriving:
            body = bytearray()
            async for block in arriving.blocks:
                body += block
            said = {field.name: getattr(arriving, field.name) for field in fields(Answer)}
            return Fetched(**said, body=bytes(body))

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        accepts: Callable[[str], bool] = is_readable,
        may_follow: Callable[[Address], bool] | None = None,
    ) -> AsyncIterator[Arriving]:
        """The same, while its body arrives. `may_follow` says whether to follow a redirect."""
        self._require_enabled()
        first = addresses.parse(url)
        async with self._room, AsyncExitStack() as stack:
            deadline = asyncio.get_running_loop().time() + self._settings.page_seconds
            with _told(str(first)):
                async with asyncio.timeout_at(deadline):
                    found, response = await self._found(first, stack, may_follow)
            arriving = self._arriving(first, found, response, deadline, accepts)
            stack.push_async_callback(arriving.blocks.aclose)
            yield arriving

    async def _found(
        self,
        address: Address,
        stack: AsyncExitStack,
        may_follow: Callable[[Address], bool] | None,
    ) -> tuple[Address, httpcore.Response]:
        """Where the way ends, and what is answered there."""
        begun = address
        for _ in range(self._settings.redirects + 1):
            ips = await self._guard.addresses(address)
            hop = await stack.enter_async_context(AsyncExitStack())
            response = await hop.enter_async_context(
                requested(address, ips, self._tls_for(address), self._settings.user_agent)
            )
            location = _header(response, b"location")
            if response.status not in _REDIRECTS or location is None:
                return address, response
            await hop.aclose()  # whatever stands in a redirect is not read
            address = _next(address, location)
            if may_follow is not None and not may_follow(address):
                raise FetchFailed(
                    f"{begun} leads to {address}, which is not to be followed", cause="elsewhere"
                )
        raise FetchFailed(
            f"{begun} leads on and on: more than {self._settings.redirects} redirects "
            "(QUIRE_WEB_REDIRECTS)",
            cause="redirect",
        )

    def _arriving(
        self,
        first: Address,
        found: Address,
        response: httpcore.Response,
        deadline: float,
        accepts: Callable[[str], bool],
    ) -> Arriving:
        url = str(first)
        if not 200 <= response.status < 300:
            raise FetchFailed(
                f"{found} answered with the status {response.status}",
                cause="status",
                http_status=response.status,
                url=url,
            )
        headers = _headers(response)
        media_type, charset = parse_content_type(headers.get("content-type", ""))
        if not accepts(media_type):
            raise UnsupportedMedia(
                f"{found} is {media_type[:100]}, which cannot be read",
                recovery="Name a page, a text, a PDF or a DOCX file.",
            )
        decoding = decoding_of(headers.get("content-encoding", ""))
        if decoding is None:
            raise FetchFailed(
                f"{found} is encoded as {headers['content-encoding'][:50]!r}, which was not asked "
                "for",
                cause="encoding",
                url=url,
            )
        self._check_size(url, _length(headers))
        return Arriving(
            url=url,
            final_url=str(found),
            status=response.status,
            media_type=media_type,
            charset=charset,
            headers=headers,
            fetched_at=now(),
            blocks=self._blocks(url, response, decoding, deadline),
        )

    async def _blocks(
        self, url: str, response: httpcore.Response, decoding: Decoding, deadline: float
    ) -> AsyncGenerator[bytes, None]:
        received = size = 0
        arriving = aiter(response.aiter_stream())
        with _told(url):
            while True:
                async with asyncio.timeout_at(deadline):
                    block = await anext(arriving, None)
                if block is None:
                    break
                received += len(block)
                self._check_size(url, received)
                for part in decoding.feed(block):
                    size += len(part)
                    self._check_size(url, size)
                    yield part
            decoding.end()

    def _check_size(self, url: str, size: int) -> None:
        if size > self._settings.page_bytes:
            raise LimitExceeded(
                f"{url} is over the limit of {self._settings.page_bytes} bytes "
                "(QUIRE_WEB_PAGE_BYTES)",
                recovery="Name a smaller page, or have the operator raise the named setting.",
                url=url,
            )

    def _require_enabled(self) -> None:
        if not self._settings.enabled:
            raise AddressRefused(
                "Nothing is fetched here (QUIRE_WEB_ENABLED=false)",
                recovery="Fetch it yourself and send what you got, or have the operator allow it.",
            )

    def _tls_for(self, address: Address) -> ssl.SSLContext | None:
        if self._tls is None and address.scheme == "https":
            # Made when it is first needed: it reads every authority's certificate.
            self._tls = httpx.create_ssl_context()
        return self._tls


class _told:  # noqa: N801 - reads as a statement: `with _told(url):`
    """What goes wrong on the way is a `FetchFailed` that names the cause, and nothing inside."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case TimeoutError() | httpcore.TimeoutException():
                why, cause = "does not answer in time (QUIRE_WEB_PAGE_SECONDS)", "timeout"
            case httpcore.ConnectError():
                why, cause = _connection(error)
            case BrokenEncodingError():
                why, cause = f"is not in the encoding that it names: {error}", "encoding"
            case httpcore.ProtocolError():
                why, cause = "does not speak HTTP, or broke off", "protocol"
            case httpcore.NetworkError():
                why, cause = "broke the connection", "connection"
            case _:
                return
        raise FetchFailed(f"{self._url} {why}", cause=cause, url=self._url) from None


def _connection(error: httpcore.ConnectError) -> tuple[str, str]:
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, ssl.SSLError):
            said = getattr(reason, "verify_message", None) or "no secure connection"
            return f"cannot be trusted: {said}", "tls"
        reason = reason.__cause__ or reason.__context__
    return "cannot be connected to", "connection"


def _next(address: Address, location: str) -> Address:
    following = address.joined(location)
    if address.scheme == "https" and following.scheme == "http":
        raise AddressRefused(
            f"{address} leads from https to http, which is not followed", url=str(address)
        )
    return following


def _header(response: httpcore.Response, name: bytes) -> str | None:
    found = (value for key, value in response.headers if key.lower() == name)
    value = next(found, None)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _headers(response: httpcore.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for key, value in response.headers:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1").strip()
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


def _length(headers: dict[str, str]) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
