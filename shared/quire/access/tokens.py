"""Bearer tokens: who a JWT says is calling, once its signature, times and claims are checked."""

from __future__ import annotations

import hashlib
import json
import math
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from jwt import PyJWK, PyJWS
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidSignatureError, PyJWTError
from pydantic import SecretStr

from quire.access.keys import ALGORITHMS, Keys
from quire.access.principal import Principal, Scope
from quire.errors import ConfigurationError, Forbidden, InvalidInput, Unauthenticated
from quire.settings import AuthSettings

MAX_TOKEN_BYTES = 8 * 1024
MAX_NAME_CHARS = 256
CACHED_TOKENS = 4096
JWKS_CACHE_SECONDS = 60.0
"""How long a verified token is taken at its word, so that a removed key takes effect."""

DEFAULT_LIFETIME = timedelta(days=30)

# Control characters, lone surrogates, line and paragraph separators: none belongs in a name.
_UNWANTED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_VALID_SCOPES = ", ".join(Scope)


class _Verified(NamedTuple):
    principal: Principal
    since: float
    until: float
    generation: int


class TokenVerifier:
    """Checks tokens against the one kind of key that is configured.

    The algorithm is pinned by the configuration, never chosen by the token: HS256 with a secret,
    RS256 or ES256 with a JWKS. Signatures are compared in constant time, by PyJWT
    (`hmac.compare_digest`) and by OpenSSL; nothing here compares a token or secret with `==`.
    """

    def __init__(
        self,
        settings: AuthSettings,
        keys: Keys | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._secret = b"" if settings.secret is None else _signing_key(settings.secret)
        if (settings.secret is None) == (keys is None):
            raise ConfigurationError("Set QUIRE_AUTH_SECRET or QUIRE_AUTH_JWKS: tokens need a key")
        self._algorithms = ["HS256"] if keys is None else list(ALGORITHMS)
        # Knows no other algorithm, `none` included.
        self._jws = PyJWS(self._algorithms, {"enforce_minimum_key_length": True})
        self._clock = clock
        self._cache: OrderedDict[bytes, _Verified] = OrderedDict()

    @classmethod
    async def open(cls, settings: AuthSettings, *, clock: Callable[[], float] = time.time) -> Self:
        """A verifier for these settings; with a JWKS it keeps the keys fresh until `close`."""
        keys = None if settings.jwks is None else await Keys.open(settings)
        return cls(settings, keys, clock=clock)

    async def close(self) -> None:
        """Stop refreshing keys."""
        self._cache.clear()
        if self._keys is not None:
            await self._keys.close()

    async def verify(self, token: str) -> Principal:
        """Who sent this token.

        Raises `Unauthenticated` saying what is wrong with it (details: `reason`), `Forbidden` when
        it is genuine but grants none of the scopes, `Unavailable` when its key cannot be had now.
        """
        data = _as_ascii(token)
        # A digest for a key: no token is kept in memory, and looking one up compares digests only.
        digest = hashlib.sha256(data).digest()
        cached = self._cache.get(digest)
        if cached is not None:
            if self._still_holds(cached):
                self._cache.move_to_end(digest)
                return cached.principal
            del self._cache[digest]
        generation = self._generation
        claims = await self._signed_claims(token)
        now = self._clock()
        expires = self._check_claims(claims, now)
        principal = _principal(claims)
        if self._keys is not None:
            expires = min(expires, now + JWKS_CACHE_SECONDS)
        self._cache[digest] = _Verified(principal, now, expires, generation)
        if len(self._cache) > CACHED_TOKENS:
            self._cache.popitem(last=False)
        return principal

    @property
    def _generation(self) -> int:
        return 0 if self._keys is None else self._keys.generation

    def _still_holds(self, verified: _Verified) -> bool:
        # `since` guards against a clock set back, which would stretch the time a token is trusted.
        return (
            verified.since <= self._clock() < verified.until
            and verified.generation == self._generation
        )

    async def _signed_claims(self, token: str) -> Mapping[str, Any]:
        try:
            header = self._jws.get_unverified_header(token)
            key = await self._key_for(header)
            payload = self._jws.decode(token, key, self._algorithms)
        except InvalidSignatureError:
            raise _rejected(
                "forged",
                "The token's signature is wrong: another key made it, or someone changed it",
            ) from None
        except PyJWTError:
            # PyJWT's own message may quote the token.
            raise _malformed("it is no signed JWT (three base64url parts)") from None
        try:
            claims = json.loads(payload)
        except (ValueError, RecursionError):
            raise _malformed("its claims are no JSON") from None
        if not isinstance(claims, dict):
            raise _malformed("its claims are no JSON object")
        return claims

    async def _key_for(self, header: Mapping[str, Any]) -> bytes | PyJWK:
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            valid = " or ".join(self._algorithms)
            raise _rejected("algorithm", f"The token must be signed with {valid}")
        if self._keys is None:
            return self._secret
        kid = header.get("kid")
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise _rejected(
                "unknown_key",
                "The token does not name its key (`kid`), and more than one could be meant"
                if kid is None
                else f"The token names a key (`kid`) that the JWKS does not have for {algorithm}",
            )
        return key

    def _check_claims(self, claims: Mapping[str, Any], now: float) -> float:
        """Check times, audience and issuer; the moment at which the token ends, with leeway."""
        leeway = self._settings.leeway_seconds
        expires = _moment(claims, "exp")
        if expires is None:
            raise _rejected("malformed", "The token has no expiry (`exp`), and it needs one")
        if now >= expires + leeway:
            raise _rejected(
                "expired",
                f"The token expired at {_shown(expires)}",
                recovery="Get a new token from where this one came from and repeat the request.",
            )
        for claim in ("nbf", "iat"):
            begins = _moment(claims, claim)
            if begins is not None and begins > now + leeway:
                raise _rejected(
                    "not_yet_valid",
                    f"The token is not valid before {_shown(begins)} (`{claim}`)",
                    recovery="Wait until then, or compare the clocks of issuer and server.",
                )
        self._check_audience(claims.get("aud"))
        issuer = self._settings.issuer
        if issuer is not None and claims.get("iss") != issuer:
            raise _rejected("issuer", "The token is not from the issuer that this server trusts")
        return expires + leeway

    def _check_audience(self, audience: Any) -> None:
        names = [audience] if isinstance(audience, str) else audience or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _malformed("`aud` must be a string or a list of strings")
        expected = self._settings.audience
        if expected is None and names:
            # RFC 7519 4.1.3: one who is not among the audience must refuse. Otherwise a token made
            # for any other service of the same issuer would open this one.
            raise _rejected(
                "audience",
                "The token is meant for an audience, and this server has none configured",
                recovery="Have the operator set QUIRE_AUTH_AUDIENCE, or get a token without `aud`.",
            )
        if expected is not None and expected not in names:
            raise _rejected("audience", "The token is not meant for this server (`aud`)")


def create_token(
    secret: SecretStr,
    subject: str,
    groups: Iterable[str] = (),
    scope: Scope = Scope.WRITE,
    lifetime: timedelta = DEFAULT_LIFETIME,
    *,
    audience: str | None = None,
    issuer: str | None = None,
    clock: Callable[[], float] = time.time,
) -> str:
    """An HS256 token that a server with the same secret, audience and issuer accepts."""
    group_names = sorted(set(groups))
    for field, names in (("subject", [subject]), ("groups", group_names)):
        for name in names:
            if (problem := _name_problem(name)) is not None:
                raise InvalidInput(f"{field}: {problem}", field=field)
    if lifetime < timedelta(seconds=1):
        raise InvalidInput("lifetime: must be at least one second", field="lifetime")
    issued = int(clock())
    claims: dict[str, Any] = {
        "sub": subject,
        "groups": group_names,
        "scope": scope.value,
        "iat": issued,
        "exp": issued + math.ceil(lifetime.total_seconds()),
    }
    if audience is not None:
        claims["aud"] = audience
    if issuer is not None:
        claims["iss"] = issuer
    payload = json.dumps(claims, separators=(",", ":")).encode()
    token = PyJWS(["HS256"]).encode(payload, _signing_key(secret), "HS256")
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidInput(
            f"groups: too many; the token would be over {MAX_TOKEN_BYTES} bytes", field="groups"
        )
    return token


def _signing_key(secret: SecretStr) -> bytes:
    algorithm = HMACAlgorithm(HMACAlgorithm.SHA256)
    try:
        # Refuses public keys and certificates: everyone has those, so anyone could sign.
        key = algorithm.prepare_key(secret.get_secret_value())
    except PyJWTError:
        raise ConfigurationError(
            "QUIRE_AUTH_SECRET holds a public key or certificate; it must be a secret",
            recovery="Put public keys in a JWKS and set QUIRE_AUTH_JWKS, or make a secret with "
            "`openssl rand -hex 32`.",
        ) from None
    if algorithm.check_key_length(key) is not None:
        raise ConfigurationError("QUIRE_AUTH_SECRET must be at least 32 bytes")
    return key


def _as_ascii(token: str) -> bytes:
    if len(token) > MAX_TOKEN_BYTES:
        raise _rejected("oversize", f"The token is over {MAX_TOKEN_BYTES} bytes")
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise _malformed("it has characters outside ASCII") from None


def _principal(claims: Mapping[str, Any]) -> Principal:
    subject = claims.get("sub")
    if (problem := _name_problem(subject)) is not None:
        raise _malformed(f"`sub` {problem}")
    groups = claims.get("groups")
    if groups is None:
        groups = []
    if not isinstance(groups, list):
        raise _malformed("`groups` must be a list of strings")
    for group in groups:
        if (problem := _name_problem(group)) is not None:
            raise _malformed(f"each of `groups` {problem}")
    return Principal(str(subject), frozenset(groups), _scope(claims))


def _scope(claims: Mapping[str, Any]) -> Scope:
    text, names = claims.get("scope"), claims.get("scopes")
    if not isinstance(text, str | None):
        raise _malformed("`scope` must be a string, its scopes separated by spaces")
    if names is not None and not (
        isinstance(names, list) and all(isinstance(name, str) for name in names)
    ):
        raise _malformed("`scopes` must be a list of strings")
    granted = {*(text or "").split(" "), *(names or [])}
    known = [scope for scope in Scope if scope.value in granted]
    if not known:
        # The caller is who they say they are; the same token sent again will not help.
        raise Forbidden(
            f"The token grants no scope that Quire knows; valid are {_VALID_SCOPES}",
            recovery="Get a token whose `scope` (or `scopes`) names one of them.",
        )
    return max(known, key=lambda scope: scope.reach)


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str):
        return "must be a string"
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        return f"must have 1 to {MAX_NAME_CHARS} characters"
    if any(unicodedata.category(character) in _UNWANTED_CATEGORIES for character in name):
        return "must not have control characters"
    return None


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return float(value)
        except OverflowError:  # an integer beyond any float
            pass
    raise _malformed(f"`{name}` must be a number of seconds since 1970")


def _shown(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "a time that no calendar has"


def _malformed(problem: str) -> Unauthenticated:
    return _rejected("malformed", f"The token cannot be read: {problem}")


def _rejected(reason: str, message: str, *, recovery: str | None = None) -> Unauthenticated:
    return Unauthenticated(message, recovery=recovery, reason=reason)
