"""What the operator allows beyond the public web: `QUIRE_WEB_ALLOW`, read."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from quire.errors import AddressRefused, ConfigurationError
from quire.web import address
from quire.web.networks import Ip, Network

WEB_PORTS = frozenset([80, 443, *range(8000, 9000)])
"""Where websites are. Elsewhere other servers listen, which a request might be taken for theirs."""

ANY_PORT = "*"
_EXAMPLES = "`wiki.local`, `.intra.example`, `10.1.0.0/16`, `wiki.local:3000`, `[fd12::/48]:*`"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name, a suffix of names or a network, and at which ports."""

    name: str | None
    network: Network | None
    port: int | str | None

    def covers(self, host: str, port: int) -> bool:
        """It is about this name at this port."""
        if self.name is None or not self._has(port):
            return False
        return host.endswith(self.name) if self.name.startswith(".") else host == self.name

    def holds(self, ip: Ip, port: int) -> bool:
        """It is about a network that this address is in, at this port."""
        return self.network is not None and self._has(port) and ip in self.network

    def _has(self, port: int) -> bool:
        return port in WEB_PORTS if self.port is None else self.port in (ANY_PORT, port)


class Allowed:
    """Hosts and networks that may be fetched from though they are not public."""

    def __init__(self, setting: str) -> None:
        words = (word.strip() for word in setting.split(","))
        self._entries = [_entry(word) for word in words if word]

    def name(self, host: str, port: int) -> bool:
        return any(entry.covers(host, port) for entry in self._entries)

    def ip(self, ip: Ip, port: int) -> bool:
        return any(entry.holds(ip, port) for entry in self._entries)

    def port(self, port: int) -> bool:
        """Some entry, or the web itself, has this port."""
        return port in WEB_PORTS or any(e.port in (ANY_PORT, port) for e in self._entries)


def _entry(word: str) -> Entry:
    host, said = _split(word)
    port: int | str | None = said or None
    if said and said != ANY_PORT:
        if not said.isdecimal() or not 1 <= int(said) <= 65535:
            raise _invalid(word)
        port = int(said)
    try:
        return Entry(None, ip_network(host), port)
    except ValueError:
        if "/" in host:
            raise _invalid(word) from None
    dot = "." if host.startswith(".") else ""
    try:
        found = address.parse(f"http://{host.removeprefix('.')}/")
    except AddressRefused:
        raise _invalid(word) from None
    if found.ip is not None:
        return Entry(None, ip_network(found.ip), port)
    return Entry(dot + found.host, None, port)


def _split(word: str) -> tuple[str, str]:
    """Host and port; an IPv6 address has its port behind brackets."""
    if word.startswith("["):
        host, end, rest = word[1:].partition("]")
        if not end or (rest and not rest.startswith(":")):
            raise _invalid(word)
        return host, rest[1:]
    if word.count(":") > 1:
        return word, ""
    host, _, port = word.partition(":")
    return host, port


def _invalid(word: str) -> ConfigurationError:
    return ConfigurationError(
        f"QUIRE_WEB_ALLOW: {word[:100]!r} is neither a host nor a network; {_EXAMPLES} are"
    )
