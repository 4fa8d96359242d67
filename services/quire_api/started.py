"""Until Quire has started, requests are put off, rather than failing half way."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from quire.app import Quire
from quire_api.authentication import OPEN_PATHS
from quire_api.problems import problem_response


class Started:
    """Lets requests through once the database answers, is migrated, and takes jobs."""

    def __init__(self, app: ASGIApp, quire: Quire) -> None:
        self._app = app
        self._quire = quire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hindrance = self._quire.hindrance
        if hindrance is None or scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
        else:
            await problem_response(hindrance, scope["request_id"])(scope, receive, send)
