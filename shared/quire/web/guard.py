"""The guard: turns a name into the addresses that may be connected to, or refuses it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from quire.errors import AddressRefused, FetchFailed
from quire.web.address import Address
from quire.web.allowed import WEB_PORTS, Allowed
from quire.web.networks import Ip, is_private, is_public

LOOKUPS = 8
"""At once. They have threads of their own: a slow name server holds up nothing but lookups."""


class Resolver(Protocol):
    """Asks for a name's addresses."""

    async def addresses(self, name: str) -> Sequence[str]:
        """Every address of a name; none where there is no such name.

        A name that ends in a dot is taken as it is, without the search list of this machine.
        """
        ...

    def close(self) -> None: ...


class SystemResolver:
    """Asks as the machine is set up to."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="quire-lookup")

    async def addresses(self, name: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, _look_up, name)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise FetchFailed(
                    f"The name server does not answer for {name.removesuffix('.')}", cause="dns"
                ) from None
            return []
        except UnicodeError:
            return []

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Guard:
    """Says what may be connected to. Nobody connects to anything else, and nobody asks twice."""

    def __init__(self, allow: str, resolver: Resolver) -> None:
        self._allowed = Allowed(allow)
        self._resolver = resolver

    async def addresses(self, address: Address) -> Sequence[str]:
        """The checked IP addresses of an address's host.

        A host with even one address that is not public is refused, unless the operator allows it.
        The words are the same for a name that nobody has: what there is inside is not told.
        """
        if not self._allowed.port(address.port):
            raise AddressRefused(
                f"{address.authority}: pages are fetched at the ports 80, 443 and 8000 to 8999, "
                "unless QUIRE_WEB_ALLOW names another",
                url=str(address),
            )
        ips = [address.ip] if address.ip is not None else await self._look_up(address)
        if not ips or not all(self._may(address, ip) for ip in ips):
            raise AddressRefused(f"{address.authority} has no public address", url=str(address))
        return [str(ip) for ip in ips]

    async def _look_up(self, address: Address) -> list[Ip]:
        is_allowed = self._allowed.name(address.host, address.port)
        if not is_allowed and _is_of_this_network(address.host):
            return []
        name = address.host if is_allowed else f"{address.host}."
        return [ipaddress.ip_address(ip) for ip in await self._resolver.addresses(name)]

    def _may(self, address: Address, ip: Ip) -> bool:
        port = address.port
        by_name = address.ip is None and self._allowed.name(address.host, port)
        if is_public(ip):
            return by_name or port in WEB_PORTS or self._allowed.ip(ip, port)
        return self._allowed.ip(ip, port) or (by_name and is_private(ip))


def _is_of_this_network(host: str) -> bool:
    """No name server outside knows it, and none is asked."""
    return "." not in host or host.endswith(".localhost")


def _look_up(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[0]) for *_, where in found))
