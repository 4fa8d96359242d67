"""Bringing documents' bytes in: each is recognised, checked and in the blob store at the end."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.content.media import HEAD_BYTES, MediaType, recognise
from quire.content.models import Slice
from quire.content.sources import Source
from quire.content.text import Errors, TextCheck, to_utf8
from quire.errors import BodyTooLarge, InvalidInput, QuireError

DEFAULT_TYPE = "text/plain"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A document whose bytes are kept, though no row says so yet."""

    source: Source
    media_type: MediaType
    raw: Slice
    content_sha256: str
    text: Slice | None
    """Where its text lies, if it is text already."""


class Arrivals:
    """Takes documents in. What nobody refers to afterwards, the next sweeps remove."""

    def __init__(self, blobs: BlobStore, ledger: BlobLedger, document_bytes: int) -> None:
        self._blobs = blobs
        self._ledger = ledger
        self._document_bytes = document_bytes

    async def take_together(self, sources: Sequence[Source]) -> list[Arrival]:
        """Small documents whose bytes are here, as one blob: each is a slice of it."""
        recognised: list[tuple[Source, bytes, MediaType]] = []
        for position, source in enumerate(sources):
            at = f"documents[{position}]"
            with named(at):
                content = source.content
                assert isinstance(content, bytes)  # noqa: S101 - the caller has sorted them
                self._check_size(at, len(content))
                media_type = recognise(
                    source.content_type or DEFAULT_TYPE, source.name, content[:HEAD_BYTES]
                )
                # It came as characters: whatever it says of itself, its bytes are UTF-8 now.
                if media_type.needs_extraction:
                    media_type = replace(media_type, charset="utf-8")
            recognised.append((source, content, media_type))
        if not recognised:
            return []
        blob = await self._ledger.put(_each(content for _, content, _ in recognised))
        arrivals, start = [], 0
        for source, content, media_type in recognised:
            raw = Slice(blob.sha256, start, start + len(content))
            start = raw.end
            text = None if media_type.needs_extraction else raw
            sha256 = hashlib.sha256(content).hexdigest()
            arrivals.append(Arrival(source, media_type, raw, sha256, text))
        return arrivals

    async def take(self, source: Source, at: str, errors: Errors) -> Arrival:
        """A document that comes as a stream, as a blob of its own."""
        content, errors = source.content, source.errors or errors
        assert content is not None  # noqa: S101 - what was to be fetched was
        stream = _each([content]) if isinstance(content, bytes) else content
        with named(at):
            head, whole = await _with_head(stream)
            if not head:
                raise _empty(at)
            media_type = recognise(source.content_type, source.name, head)
            counted = self._counted(at, whole)
            check = TextCheck(media_type.charset, errors)
            if media_type.needs_extraction:
                blob = await self._ledger.put(counted)
                raw, text = Slice(blob.sha256, 0, blob.size), await self._read_already(source)
                return Arrival(source, media_type, raw, blob.sha256, text)
            blob = await self._ledger.put(check.passing(counted))
            raw = text = Slice(blob.sha256, 0, blob.size)
            if not check.is_verbatim:
                again = self._blobs.get(blob.sha256)
                made = await self._ledger.put(to_utf8(again, media_type.charset, errors))
                text = Slice(made.sha256, 0, made.size)
            elif check.bom_bytes:
                text = Slice(blob.sha256, check.bom_bytes, blob.size)
            return Arrival(source, media_type, raw, blob.sha256, text)

    async def _read_already(self, source: Source) -> Slice | None:
        if not source.text:
            return None
        blob = await self._ledger.put(_each([source.text]))
        return Slice(blob.sha256, 0, blob.size)

    async def _counted(self, at: str, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for block in content:
            size += len(block)
            self._check_size(at, size)
            yield block

    def _check_size(self, at: str, size: int) -> None:
        if size == 0:
            raise _empty(at)
        if size > self._document_bytes:
            raise BodyTooLarge(
                f"{at} is over the limit of {self._document_bytes} bytes "
                "(QUIRE_LIMITS_DOCUMENT_BYTES)",
                field=at,
            )


class named:  # noqa: N801 - reads as a statement: `with named(at):`
    """Errors within say which document they are about."""

    def __init__(self, at: str) -> None:
        self._at = at

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, QuireError) and not error.message.startswith(self._at):
            error.message = f"{self._at}: {error.message}"
            error.details = {"field": self._at, **error.details}


def _empty(at: str) -> InvalidInput:
    return InvalidInput(f"{at} is empty", field=at)


async def _each(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def _with_head(content: AsyncIterable[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first bytes, and everything with them."""
    rest = aiter(content)
    blocks: list[bytes] = []
    while sum(map(len, blocks)) < HEAD_BYTES:
        try:
            blocks.append(await anext(rest))
        except StopAsyncIteration:
            break

    async def whole() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block
        async for block in rest:
            yield block

    return b"".join(blocks)[:HEAD_BYTES], whole()
