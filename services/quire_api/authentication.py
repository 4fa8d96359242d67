"""Who calls: every path but health demands a token, once authentication is configured."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from quire.access.principal import LOCAL, Principal
from quire.access.tokens import TokenVerifier
from quire.errors import Forbidden, QuireError, Unauthenticated
from quire_api.problems import problem_response

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/health"})


class Authentication:
    """Sets `scope["principal"]`; outside the routes, so that no route can forget it."""

    def __init__(self, app: ASGIApp, verifier: TokenVerifier | None) -> None:
        self._app = app
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            scope["principal"] = await self._principal(scope)
        except QuireError as error:
            await problem_response(error, scope["request_id"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal:
        if self._verifier is None:
            _require_here(scope)
            return LOCAL
        return await self._verifier.verify(_bearer(scope))


def _require_here(scope: Scope) -> None:
    """Without tokens, no page of another site may talk to this machine's server.

    A browser says which page asks (Origin), and under which name it looked this machine up (Host);
    a name server that changes its answer changes neither.
    """
    for name, value in scope["headers"]:
        if name == b"host":
            address = f"//{value.decode('latin-1')}"
        elif name == b"origin":
            address = value.decode("latin-1")
        else:
            continue
        if not _is_here(address):
            raise Forbidden(
                f"Without authentication only this machine is served, and {name.decode()} names "
                "another",
                recovery="Use the address http://127.0.0.1, or configure authentication: "
                "QUIRE_AUTH_SECRET or QUIRE_AUTH_JWKS.",
            )


def _is_here(address: str) -> bool:
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        raise Unauthenticated
    kind, _, token = given[0].partition(b" ")
    if len(given) > 1 or kind.lower() != b"bearer" or not token.isascii():
        raise Unauthenticated("The Authorization header must be `Bearer <token>`")
    return str(token.strip().decode("ascii"))


async def caller(request: Request) -> Principal:
    principal: Principal = request.scope["principal"]
    return principal


Caller = Annotated[Principal, Depends(caller)]
