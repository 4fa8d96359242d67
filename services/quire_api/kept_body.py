"""A request's body, kept so that it can be hashed first and read afterwards; large ones on disk."""

from __future__ import annotations

import asyncio
import hashlib
import re
from tempfile import SpooledTemporaryFile
from typing import Self

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

IN_MEMORY_BYTES = 4 * 1024 * 1024
BLOCK_BYTES = 256 * 1024
BOUNDARY = re.compile(rb'multipart/.*;\s*boundary="?([^";,\s]+)', re.IGNORECASE)


class KeptBody:
    """Read it once whole; then `receive` gives it out as the server would have."""

    def __init__(self, fingerprint_of: bytes, boundary: bytes | None) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - see close
        self._hash = hashlib.sha256(fingerprint_of)
        self._boundary = boundary
        self._unhashed = b""
        self._sent = False
        self._receive: Receive

    @classmethod
    async def read(cls, scope: Scope, receive: Receive, fingerprint_of: bytes) -> Self:
        """All of it; `ClientDisconnect` where it breaks off."""
        body = cls(fingerprint_of, _boundary(scope))
        body._receive = receive
        try:
            async for block in Request(scope, receive).stream():
                body._digest(block)
                await asyncio.to_thread(body._file.write, block)
            body._digest(b"")
            body._file.seek(0)
        except BaseException:
            body.close()
            raise
        return body

    @property
    def fingerprint(self) -> str:
        return self._hash.hexdigest()

    def _digest(self, block: bytes) -> None:
        if self._boundary is None:
            self._hash.update(block)
            return
        # A form that is sent again has another boundary, and is the same form.
        data = (self._unhashed + block).replace(self._boundary, b"")
        at = len(data) - len(self._boundary) if block else len(data)
        self._hash.update(data[: max(0, at)])
        self._unhashed = data[max(0, at) :]

    async def receive(self) -> Message:
        if self._sent:
            return await self._receive()
        block = await asyncio.to_thread(self._file.read, BLOCK_BYTES)
        self._sent = len(block) < BLOCK_BYTES
        return {"type": "http.request", "body": block, "more_body": not self._sent}

    def close(self) -> None:
        self._file.close()


def _boundary(scope: Scope) -> bytes | None:
    """What a form's parts are divided by."""
    content_type = next((v for k, v in scope["headers"] if k == b"content-type"), b"")
    found = BOUNDARY.search(content_type)
    return found[1] if found else None
