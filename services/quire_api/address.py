"""Addresses that can name nothing are refused, before a database meets them."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from quire.errors import BadRequest
from quire_api.problems import problem_response


class Address:
    """PostgreSQL holds no NUL in text and SQLite does; so nothing here has one in its name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\x00" in scope["path"] or b"%00" in scope["query_string"]):
            error = BadRequest(
                "The address holds NUL (%00), and nothing here has that in its name",
                recovery="Take %00 out of the address.",
            )
            await problem_response(error, scope["request_id"])(scope, receive, send)
            return
        await self._app(scope, receive, send)
