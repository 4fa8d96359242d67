"""Bodies that are too large are refused while they come in, whatever they claim to be."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quire.errors import BodyTooLarge, InvalidInput
from quire_api.problems import problem_response


class TooMuch(HTTPException):
    """The framework passes its own exceptions on from where it reads, and would hide any other."""


class BodyLimit:
    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._refusal = f"The body is over the limit of {limit} bytes (QUIRE_LIMITS_BODY_BYTES)"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length":
                if not value.isdigit():
                    error = InvalidInput("Content-Length is not a number", field="Content-Length")
                    await problem_response(error, scope["request_id"])(scope, receive, send)
                    return
                if len(value) > 18 or int(value) > self._limit:
                    error = BodyTooLarge(self._refusal)
                    await problem_response(error, scope["request_id"])(scope, receive, send)
                    return
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise TooMuch(413, self._refusal)
            return message

        try:
            await self._app(scope, counting, send)
        except TooMuch:  # read by a layer around the routes
            error = BodyTooLarge(self._refusal)
            await problem_response(error, scope["request_id"])(scope, receive, send)
