"""tus 1.0.0, the protocol of resumable uploads: what its headers say, and how it is refused."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping
from email.utils import format_datetime
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from quire.errors import BadRequest, InvalidInput, PreconditionFailed, QuireError
from quire.uploads.checksum import ALGORITHMS, Checksum, ChecksumMismatch
from quire.uploads.models import Upload
from quire_api.problems import MEDIA_TYPE, Problem, problem_response, problem_responses

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "termination",
    "checksum",
)
MISMATCH = "Checksum Mismatch"
MISMATCH_RESPONSE: dict[int | str, dict[str, Any]] = {
    ChecksumMismatch.status: {**problem_responses(400)[400], "description": MISMATCH}
}
OVERRIDES = frozenset({"PATCH", "DELETE", "HEAD"})


class UnknownVersion(PreconditionFailed):
    """This version of tus is not spoken here."""

    recovery = f"Send `Tus-Resumable: {VERSION}`, or leave it out."


class TusRoute(APIRoute):
    """Refuses other versions of the protocol, and names its own in every answer.

    Who names no version is served as well: with curl, one header less.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def speaking(request: Request) -> Response:
            try:
                _require_version(request)
                answer = await handle(request)
            except QuireError as error:
                answer = _problem(error, request)
            answer.headers["Tus-Resumable"] = VERSION
            return answer

        return speaking


class MethodOverride:
    """`X-HTTP-Method-Override`, for clients that can send no PATCH; on uploads alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and scope["path"].startswith("/uploads/")
        ):
            scope["method"] = _meant(scope)
        await self._app(scope, receive, send)


def capabilities(upload_bytes: int) -> dict[str, str]:
    """What this server can do."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Max-Size": str(upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def progress(upload: Upload) -> dict[str, str]:
    """How far the upload is, and how long it is kept."""
    return {
        "Upload-Offset": str(upload.received),
        "Upload-Expires": format_datetime(upload.expires_at, usegmt=True),
    }


def description(upload: Upload) -> dict[str, str]:
    """Everything that HEAD tells."""
    headers = {**progress(upload), "Cache-Control": "no-store"}
    if upload.size is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(upload.size)
    if upload.metadata:
        headers["Upload-Metadata"] = _encode_metadata(upload.metadata)
    return headers


def read_length(length: int | None, deferred: str | None) -> int | None:
    """The length of a new upload; None where it is to follow."""
    if deferred is not None and deferred != "1":
        raise InvalidInput("Upload-Defer-Length is 1 or left out", field="Upload-Defer-Length")
    if (length is None) == (deferred is None):
        raise InvalidInput(
            "A new upload has an Upload-Length in bytes, or Upload-Defer-Length: 1",
            field="Upload-Length",
        )
    return length


def read_metadata(header: str | None) -> dict[str, str]:
    """`Upload-Metadata`: names, each with its value in base64, between commas."""
    metadata: dict[str, str] = {}
    if header is None or not header.strip():
        return metadata
    for pair in header.split(","):
        name, _, value = pair.strip().partition(" ")
        if name in metadata:
            raise InvalidInput(f"{name[:64]} is twice in Upload-Metadata", field="Upload-Metadata")
        metadata[name] = _decode(name, value)
    return metadata


def read_checksum(header: str | None) -> Checksum | None:
    """`Upload-Checksum`: an algorithm and a digest in base64."""
    if header is None:
        return None
    name, _, value = header.partition(" ")
    for algorithm in ALGORITHMS:
        if name == algorithm:
            try:
                return Checksum(algorithm, base64.b64decode(value, validate=True))
            except binascii.Error:
                raise BadRequest("The digest in Upload-Checksum is not base64") from None
    raise BadRequest(
        f"Upload-Checksum names {name[:32]}; there are {', '.join(ALGORITHMS)}",
        recovery="Send a checksum of one of them, or none.",
    )


def _meant(scope: Scope) -> str:
    named = [v.decode("latin-1") for k, v in scope["headers"] if k == b"x-http-method-override"]
    return named[0] if len(named) == 1 and named[0] in OVERRIDES else "POST"


def _require_version(request: Request) -> None:
    version = request.headers.get("tus-resumable", VERSION)
    if version != VERSION and request.method != "OPTIONS":
        raise UnknownVersion(f"Tus-Resumable is {version[:32]}; this server speaks {VERSION}")


def _problem(error: QuireError, request: Request) -> Response:
    request_id = request.scope.get("request_id")
    if isinstance(error, UnknownVersion):
        return problem_response(error, request_id, {"Tus-Version": VERSION})
    if not isinstance(error, ChecksumMismatch):
        return problem_response(error, request_id)
    # The status is the protocol's own, and HTTP has no phrase for it.
    problem = Problem(
        type=f"urn:quire:problem:{error.code}",
        title=MISMATCH,
        status=error.status,
        code=error.code,
        detail=error.message,
        recovery=error.recovery,
        request_id=request_id,
    )
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, error.status, media_type=MEDIA_TYPE)


def _encode_metadata(metadata: Mapping[str, str]) -> str:
    return ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}".rstrip()
        for name, value in metadata.items()
    )


def _decode(name: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        raise InvalidInput(
            f"The value of {name[:64]} in Upload-Metadata is not base64 of UTF-8",
            field="Upload-Metadata",
        ) from None
