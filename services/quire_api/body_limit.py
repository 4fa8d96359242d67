"""Bodies that are too large are refused while they come in, whatever they claim to be."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quire.errors import BodyTooLarge, InvalidInput
from quire.settings import Settings
from quire_api.problems import problem_response
from quire_api.uploading import is_attachment, is_import, is_piece, is_upload

# What a form has around its file.
FORM_BYTES = 64 * 1024


class TooMuch(HTTPException):
    """The framework passes its own exceptions on from where it reads, and would hide any other."""


@dataclass(frozen=True, slots=True)
class Limit:
    size: int
    setting: str

    @property
    def refusal(self) -> str:
        return f"The body is over the limit of {self.size} bytes ({self.setting})"


class BodyLimit:
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        limits, transfer, activity = settings.limits, settings.transfer, settings.activity
        self._app = app
        self._body = Limit(limits.body_bytes, "QUIRE_LIMITS_BODY_BYTES")
        self._upload = Limit(limits.upload_bytes, "QUIRE_LIMITS_UPLOAD_BYTES")
        self._attachment = Limit(
            activity.attachment_bytes + FORM_BYTES, "QUIRE_ACTIVITY_ATTACHMENT_BYTES"
        )
        self._piece = Limit(transfer.upload_bytes, "QUIRE_TRANSFER_UPLOAD_BYTES")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope)
        for name, value in scope["headers"]:
            if name == b"content-length":
                if not value.isdigit():
                    error = InvalidInput("Content-Length is not a number", field="Content-Length")
                    await problem_response(error, scope["request_id"])(scope, receive, send)
                    return
                if len(value) > 18 or int(value) > limit.size:
                    error = BodyTooLarge(limit.refusal)
                    await problem_response(error, scope["request_id"])(scope, receive, send)
                    return
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit.size:
                raise TooMuch(413, limit.refusal)
            return message

        try:
            await self._app(scope, counting, send)
        except TooMuch:  # read by a layer around the routes
            error = BodyTooLarge(limit.refusal)
            await problem_response(error, scope["request_id"])(scope, receive, send)

    def _limit_of(self, scope: Scope) -> Limit:
        if is_piece(scope) or is_import(scope):
            return self._piece
        if is_attachment(scope):
            return self._attachment
        return self._upload if is_upload(scope) else self._body
