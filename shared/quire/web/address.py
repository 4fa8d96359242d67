"""Addresses: what a URL means, read as browsers read it; what is odd about one is refused.

Checks are made on what stands here, and what stands here is what is connected to: there is no
second reading of a URL that could come to another host.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote, urljoin, urlsplit

import idna

from quire.errors import AddressRefused

URL_CHARS = 4_000
SCHEMES = {"http": 80, "https": 443}

_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# What browsers leave as it is in a path and in a query.
_IN_PATH = "/%:@!$&'()*+,;=-._~[]|^"
_IN_QUERY = _IN_PATH + "?`{}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where something is on the web: canonical, without user, password and fragment."""

    scheme: str
    host: str
    """A name in ASCII and lower case without a dot at its end, or an IP address in full."""
    port: int
    path: str
    query: str | None = None

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The host, where it is no name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port, as they stand in a URL and in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == SCHEMES[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """What is asked of the host."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    def joined(self, reference: str) -> Address:
        """The address that a reference on this page means."""
        return parse(_joined(str(self), reference.strip()))


def parse(url: str) -> Address:
    """Read a URL; `AddressRefused` says what about it cannot be."""
    url = url.strip()
    if len(url) > URL_CHARS:
        raise AddressRefused(f"The address is longer than {URL_CHARS} characters")
    if _CONTROL.search(url):
        raise refused(url, "holds spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused(url, f"is no URL ({error})") from None
    if parts.scheme not in SCHEMES:
        raise refused(url, "is not an http or https URL")
    if "@" in parts.netloc:
        raise refused("The address", "names a user, which is never sent")
    if port == 0:
        raise refused(url, "names port 0")
    host = _host(url, parts.hostname or "", bracketed="[" in parts.netloc)
    return Address(
        scheme=parts.scheme,
        host=host,
        port=port or SCHEMES[parts.scheme],
        path=_without_dots(quote(parts.path, safe=_IN_PATH)) or "/",
        query=quote(parts.query, safe=_IN_QUERY) if "?" in url.partition("#")[0] else None,
    )


def refused(what: str, why: str) -> AddressRefused:
    return AddressRefused(f"{what[:200]} {why}", url=what[:URL_CHARS])


def ip_of(host: str) -> IPv4Address | None:
    """The IPv4 address that browsers take a host for: also decimal, octal, hex and shortened.

    None for a name; `ValueError` for what ends in a number and is neither.
    """
    labels = host.split(".")
    if not _NUMBER.fullmatch(labels[-1]):
        return None
    if len(labels) > 4:
        raise ValueError(host)
    *first, last = (_number(label) for label in labels)
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        raise ValueError(host)
    return IPv4Address(sum(n << (24 - 8 * at) for at, n in enumerate(first)) + last)


def _number(label: str) -> int:
    if not _NUMBER.fullmatch(label):
        raise ValueError(label)
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if label.startswith("0") and label != "0" else int(label)


def _host(url: str, host: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            return str(IPv6Address(host)) if "%" not in host else _no_zone(url)
        except ValueError:
            raise refused(url, "has no valid IPv6 address") from None
    host = host.lower()
    if "%" in host:
        raise refused(url, "has a host with percent signs")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise refused(url, "has a host that is no name") from None
    host = host.removesuffix(".")
    try:
        ip = ip_of(host)
    except ValueError:
        raise refused(url, "has a host that is neither a name nor an IP address") from None
    if ip is not None:
        return str(ip)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise refused(url, "has a host that is no name")
    return host


def _no_zone(url: str) -> str:
    raise refused(url, "names a network interface")


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError as error:
        raise refused(reference, f"is no URL ({error})") from None


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4; a dot may be written %2e."""
    kept: list[str] = []
    segments = path.split("/")
    for at, segment in enumerate(segments):
        plain = unquote(segment) if len(segment) <= 6 else segment
        if plain in (".", ".."):
            if plain == ".." and len(kept) > 1:
                kept.pop()
            if at == len(segments) - 1:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept)
