"""The public keys that tokens are checked with: a JWKS from a file or a URL, kept fresh."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from quire.errors import ConfigurationError, Unavailable
from quire.settings import AuthSettings

ALGORITHMS = ("RS256", "ES256")
"""What a JWKS may verify. Each key serves the one algorithm that its type allows."""

MAX_JWKS_BYTES = 256 * 1024
FETCH_SECONDS = 5.0
COOLDOWN_SECONDS = 10.0
"""Tokens with unknown keys cause at most one refresh in this time."""

_RSA_BITS = range(2048, 8192 + 1)  # shorter ones are weak, longer ones a way to burn our time
_FILE_SECONDS = 2.0
_EMPTY_SECONDS = 1.0  # with no key at all every request fails, so ask again sooner
_PUBLIC_MEMBERS = {"RS256": ("n", "e"), "ES256": ("crv", "x", "y")}

log = structlog.get_logger(__name__)


class KeyRing:
    """The usable keys of one JWKS, found by key id and algorithm."""

    def __init__(self, keys: Iterable[Mapping[str, Any]]) -> None:
        self._keys: dict[tuple[str | None, str], PyJWK] = {}
        self._members: dict[tuple[str | None, str], Mapping[str, str]] = {}
        for given in keys:
            algorithm = _algorithm(given)
            if algorithm is None:
                continue
            # The private half, should someone publish it, is not taken in.
            kept = {"kty", *_PUBLIC_MEMBERS[algorithm]}
            members = {name: value for name, value in given.items() if name in kept}
            try:
                key = PyJWK(members, algorithm)
            except (PyJWTError, KeyError):
                continue
            if isinstance(key.key, RSAPublicKey) and key.key.key_size not in _RSA_BITS:
                continue
            name = (given.get("kid"), algorithm)
            self._keys[name] = key
            self._members[name] = members

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a JWKS; keys that cannot verify our algorithms are passed over.

        Raises `ValueError` when it is no JWKS or holds no usable key.
        """
        try:
            document = json.loads(data)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        keys = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list):
            raise ValueError('it is no JWKS: expected {"keys": [...]}')  # noqa: TRY004
        ring = cls(key for key in keys if isinstance(key, dict))
        if not len(ring):
            raise ValueError("it has no RSA key of 2048 bits or more and no P-256 key for signing")
        return ring

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyRing) and self._members == other._members

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key with that id; without an id, the only key that fits, if there is but one."""
        if kid is not None:
            return self._keys.get((kid, algorithm))
        fitting = [key for (_, fits), key in self._keys.items() if fits == algorithm]
        return fitting[0] if len(fitting) == 1 else None


def _algorithm(key: Mapping[str, Any]) -> str | None:
    """What a published key may verify; symmetric keys, and those for other uses, nothing."""
    operations = key.get("key_ops", ["verify"])
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(key.get("kty")))
    fits = (
        key.get("alg", algorithm) == algorithm
        and (algorithm != "ES256" or key.get("crv") == "P-256")
        and key.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(key.get("kid"), str | None)
    )
    return algorithm if fits else None


class KeySource(Protocol):
    """Where a JWKS comes from. `load` raises `Unavailable`, saying why there is none."""

    refresh_seconds: float
    cooldown_seconds: float

    async def load(self) -> KeyRing: ...

    async def close(self) -> None: ...


class FileSource:
    """A JWKS file, read again when it changes."""

    refresh_seconds = _FILE_SECONDS
    cooldown_seconds = _EMPTY_SECONDS

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()
        self._last: tuple[tuple[int, int, int], KeyRing] | None = None

    async def load(self) -> KeyRing:
        try:
            return await asyncio.to_thread(self._read)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise Unavailable(f"The JWKS file {self._path} cannot be used: {reason}") from error

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _read(self) -> KeyRing:
        status = self._path.stat()
        mark = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._last is not None and self._last[0] == mark:
            return self._last[1]
        if status.st_size > MAX_JWKS_BYTES:
            raise ValueError(f"it is over {MAX_JWKS_BYTES} bytes")
        ring = KeyRing.parse(self._path.read_bytes())
        self._last = (mark, ring)
        return ring


class UrlSource:
    """A JWKS endpoint: https, or plain http on loopback alone."""

    cooldown_seconds = COOLDOWN_SECONDS

    def __init__(self, url: str, refresh_seconds: float) -> None:
        target = httpx.URL(url)
        loopback = _is_loopback(target.host)
        if target.scheme != "https" and not loopback:
            raise ConfigurationError(
                "QUIRE_AUTH_JWKS: plain http is only for loopback; over a network anyone between "
                "could hand out keys of their own",
                recovery="Use the https URL of the JWKS.",
            )
        self.refresh_seconds = refresh_seconds
        self._url = target
        self._shown = str(target.copy_with(username=None, password=None, query=None))
        # No redirects: one could lead to plain http. No proxy between us and loopback.
        self._client = httpx.AsyncClient(
            timeout=FETCH_SECONDS, follow_redirects=False, trust_env=not loopback
        )

    async def load(self) -> KeyRing:
        try:
            # httpx limits each read; this limits them all, against an endpoint that trickles.
            async with asyncio.timeout(FETCH_SECONDS):
                return KeyRing.parse(await self._fetch())
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"The JWKS at {self._shown} cannot be used: {reason}") from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _fetch(self) -> bytes:
        # Uncompressed, so that the limit holds before anything is unpacked.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"it answered {response.status_code}")
            data = bytearray()
            async for part in response.aiter_raw():
                data += part
                if len(data) > MAX_JWKS_BYTES:
                    raise ValueError(f"it is over {MAX_JWKS_BYTES} bytes")
        return bytes(data)


class Keys:
    """The keys of a source, refreshed in the background, and when a token names an unknown one.

    A refresh that fails leaves the keys as they were. `generation` changes with the keys.
    """

    def __init__(
        self, source: KeySource, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.generation = 0
        self._source = source
        self._monotonic = monotonic
        self._ring: KeyRing | None = None
        self._problem: Unavailable | None = None
        self._asked_at = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None
        self._background: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, settings: AuthSettings) -> Self:
        """Start with the source in the settings.

        A file must be there and right. An endpoint may be down: it is asked again until it answers.
        """
        place = settings.jwks
        if place is None:
            raise ConfigurationError("QUIRE_AUTH_JWKS is not set")
        if "://" in place:
            keys = cls(_url_source(place, settings.jwks_refresh_seconds))
            await keys.start()
            return keys
        keys = cls(FileSource(place))
        await keys.start()
        if keys._problem is not None:
            await keys.close()
            raise ConfigurationError(f"QUIRE_AUTH_JWKS: {keys._problem.message}")
        return keys

    async def start(self) -> None:
        """Load the keys for the first time and keep them fresh from then on."""
        await self._refresh()
        self._background = asyncio.create_task(self._keep_fresh(), name="jwks refresh")

    async def close(self) -> None:
        for task in (self._background, self._refreshing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._source.close()

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key for a token's header, or None where the source is known not to have it.

        Raises `Unavailable` where that cannot be known: the source fails, and what is kept from
        before has no such key.
        """
        key = self._look_up(kid, algorithm)
        if key is None and self._may_ask():
            await self._refresh()
            key = self._look_up(kid, algorithm)
        if key is None and self._problem is not None:
            raise Unavailable(
                "Tokens cannot be checked now: the source of their keys (QUIRE_AUTH_JWKS) fails",
                recovery="Repeat the request with the same token in a few seconds.",
            )
        return key

    def _look_up(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return None if self._ring is None else self._ring.find(kid, algorithm)

    def _may_ask(self) -> bool:
        if self._refreshing is not None:
            return True  # joins the one under way
        now = self._monotonic()
        cooldown = self._source.cooldown_seconds
        if self._ring is None:
            cooldown = min(cooldown, _EMPTY_SECONDS)
        if now - self._asked_at < cooldown:
            return False
        self._asked_at = now
        return True

    async def _refresh(self) -> None:
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._load(), name="jwks load")
        # Shielded: a request that goes away must not take the others' refresh with it.
        await asyncio.shield(self._refreshing)

    async def _load(self) -> None:
        try:
            ring = await self._source.load()
        except Unavailable as problem:
            if self._problem is None:
                log.warning(
                    "jwks_refresh_failed", reason=problem.message, keys_kept=self._ring is not None
                )
            self._problem = problem
        else:
            if self._problem is not None:
                log.info("jwks_refresh_recovered")
            self._problem = None
            if ring != self._ring:
                self._ring = ring
                self.generation += 1
        finally:
            self._refreshing = None

    async def _keep_fresh(self) -> None:
        while True:
            wait = self._source.refresh_seconds
            if self._problem is not None:
                wait = min(wait, self._source.cooldown_seconds)
                if self._ring is None:
                    wait = min(wait, _EMPTY_SECONDS)
            await asyncio.sleep(wait)
            try:
                await self._refresh()
            except Exception:
                # A boundary: whatever went wrong, the keys must not grow old unnoticed.
                log.exception("jwks_refresh_broken")


def _url_source(url: str, refresh_seconds: float) -> UrlSource:
    if not url.startswith(("https://", "http://")):
        raise ConfigurationError("QUIRE_AUTH_JWKS must be a file's path or an https URL")
    try:
        return UrlSource(url, refresh_seconds)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"QUIRE_AUTH_JWKS is no URL: {error}") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
