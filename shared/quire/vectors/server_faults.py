"""What a Qdrant server's refusals and silences mean, in Quire's errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]
import httpx
import structlog
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from quire.errors import (
    CollectionNotFound,
    ConfigurationError,
    Conflict,
    InvalidInput,
    QuireError,
    StorageFull,
    Unavailable,
)

_log = structlog.get_logger(__name__)

_FULL = ("no space left", "out of disk", "disk space", "os error 28", "storage full")

_STATUS_OF = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
}


@contextmanager
def answers(collection: str | None = None) -> Iterator[None]:
    """Map whatever the client raises inside the block."""
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise Unavailable(
            "The Qdrant server asks to wait.", retry_after=float(error.retry_after_s)
        ) from error
    except UnexpectedResponse as error:
        raise refusal(error.status_code or 500, _words(error.content), collection) from error
    except grpc.aio.AioRpcError as error:
        status = _STATUS_OF.get(error.code(), 503)
        raise refusal(status, error.details() or "", collection) from error
    except (ResponseHandlingException, httpx.HTTPError, ConnectionError, TimeoutError) as error:
        _log.warning("qdrant.silent", error=repr(error))
        raise Unavailable("The Qdrant server does not answer.") from error


def refusal(status: int, words: str, collection: str | None) -> QuireError:
    """The error that a status and the server's words stand for."""
    lowered = words.lower()
    if any(hint in lowered for hint in _FULL):
        return StorageFull("The Qdrant server has no room left.")
    if status == 404 and collection is not None:
        return CollectionNotFound(f"There is no collection {collection}.", collection=collection)
    if status == 409:
        return Conflict(f"The Qdrant server refuses this: {words}")
    if status in {401, 403}:
        return ConfigurationError(
            "The Qdrant server refuses the key.", recovery="Check QUIRE_QDRANT_API_KEY."
        )
    if 400 <= status < 500 and status not in {408, 429}:
        return InvalidInput(f"The Qdrant server refuses this: {words}")
    _log.warning("qdrant.failed", status=status, error=words, collection=collection)
    return Unavailable("The Qdrant server cannot do this at the moment.")


@contextmanager
def local_answers(collection: str | None = None) -> Iterator[None]:
    """The same for the client's local mode, which knows `ValueError` only."""
    try:
        yield
    except ValueError as error:
        words = str(error)
        status = 404 if words.startswith("Collection") and "not found" in words else 400
        if words.endswith("already exists"):
            status = 409
        raise refusal(status, words, collection) from error


def _words(content: bytes) -> str:
    try:
        return str(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")
