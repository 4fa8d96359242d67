"""One request over one connection, to an address that was checked before."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import httpcore

from quire.web.address import Address
from quire.web.inflating import ACCEPTED

CONNECT_SECONDS = 5.0
ADDRESSES_TRIED = 4


class Pinned(httpcore.AsyncNetworkBackend):
    """Connects to given IP addresses, whatever the name: it looks no name up."""

    def __init__(self, ips: Sequence[str]) -> None:
        self._ips = ips[:ADDRESSES_TRIED]
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError("it has no address")
        for ip in self._ips:
            try:
                return await self._plain.connect_tcp(ip, port, timeout=CONNECT_SECONDS)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


@asynccontextmanager
async def requested(
    address: Address, ips: Sequence[str], tls: ssl.SSLContext | None, user_agent: str
) -> AsyncIterator[httpcore.Response]:
    """The answer to a GET, its body not yet read.

    The certificate must be the name's. Nothing is sent that could tell who asks: no cookies, no
    credentials, no referrer; and no proxy of the environment is in between.
    """
    origin = httpcore.Origin(address.scheme.encode(), address.host.encode(), address.port)
    url = httpcore.URL(
        scheme=origin.scheme, host=origin.host, port=origin.port, target=address.target.encode()
    )
    headers = {
        "Host": address.authority,
        "User-Agent": user_agent,
        "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
        "Accept-Encoding": ACCEPTED,
        "Connection": "close",
    }
    connection = httpcore.AsyncHTTPConnection(origin, tls, network_backend=Pinned(ips))
    async with (
        connection,
        connection.stream("GET", url, headers=list(headers.items())) as response,
    ):
        yield response
