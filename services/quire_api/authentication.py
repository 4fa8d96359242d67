"""Who calls: every path but health demands a token, once authentication is configured."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from quire.access.principal import LOCAL, Principal
from quire.access.tokens import TokenVerifier
from quire.errors import QuireError, Unauthenticated
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
        if self._verifier is None:
            scope["principal"] = LOCAL
        else:
            try:
                scope["principal"] = await self._verifier.verify(_bearer(scope))
            except QuireError as error:
                await problem_response(error, scope["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


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
