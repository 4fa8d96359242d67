"""`Prefer: respond-async`: while a session wakes, who does not wait is told so, with a 202."""

from __future__ import annotations

import re

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from quire.sessions.waking import StillCold, without_waiting
from quire_api.http import json_response

RESPOND_ASYNC = re.compile(rb"(?:^|[,;\s])respond-async\s*(?:$|[,;])", re.IGNORECASE)


class Patience:
    """Notes whether the caller waits for sessions to wake; without the preference, everyone does.

    So does who sends an `Idempotency-Key`: the answer that is kept for it must be the real one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _prefers_to_be_told(scope):
            with without_waiting():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def install_patience(app: FastAPI) -> None:
    """Answer who does not wait: it goes on, and the request is to be sent again."""

    @app.exception_handler(StillCold)
    async def still_cold(request: Request, cold: StillCold) -> Response:
        answer = {"message": f"{cold.message}. {cold.recovery}", **cold.details}
        headers = {
            "Retry-After": str(max(1, round(cold.retry_after or 1))),
            "Preference-Applied": "respond-async",
        }
        return json_response(answer, 202, headers)


def _prefers_to_be_told(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    headers = scope["headers"]
    if any(name == b"idempotency-key" for name, _ in headers):
        return False
    return any(name == b"prefer" and RESPOND_ASYNC.search(value) for name, value in headers)
