"""Exporting: a session as a file, streamed. It is whole, or it visibly breaks off."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quire.access.principal import Principal
from quire.bundle.formats.comma_separated import write_csv
from quire.bundle.formats.jsonl import write_jsonl
from quire.bundle.formats.models import Format
from quire.bundle.formats.session_json import write_session_json
from quire.bundle.writing import write_bundle
from quire.content.scratch import Scratch
from quire.errors import CollectionNotFound, Conflict, InvalidInput
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.store.columns import now
from quire.transfer.export_contents import ExportContents, SessionContents
from quire.transfer.feeds import EVERYTHING
from quire.transfer.selection import Selection

ATTEMPTS = 5
HELD_BACK_BYTES = 1024 * 1024
"""What is read before the first byte is sent: until then an export can begin again."""

USE_SECONDS = 10.0

Describe = Callable[[Session], Mapping[str, Any]]
Use = Callable[[], Awaitable[None]]


class ExportBrokenOff(Conflict):
    """The session changed while it was being exported."""

    code = "export_broken_off"
    recovery = "Export it again; what was sent so far is not the whole session."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What of a session is wanted, as what."""

    format: Format = Format.SESSION_JSON
    vectors: bool = True
    points: bool = True
    """The original service's export can do without."""
    selection: Selection = EVERYTHING

    def checked(self) -> ExportRequest:
        """The same, or an error that names what does not go together."""
        if self.format is Format.SNAPSHOT:
            raise InvalidInput("Snapshots are the engine's own to make", field="format")
        if self.format is Format.SESSION_JSON and not self.vectors:
            raise InvalidInput(
                "vectors=omit needs a format: bundle, parquet, jsonl or csv", field="vectors"
            )
        if self.format is not Format.SESSION_JSON and not self.points:
            raise InvalidInput("include_data=false goes without a format", field="include_data")
        return self


BUNDLE = ExportRequest(format=Format.BUNDLE)


class Export:
    """A file on its way out; to be closed when it is not read to its end."""

    def __init__(
        self, session: Session, first: bytes, rest: AsyncGenerator[bytes, None] | None
    ) -> None:
        self.session = session
        self._first = first
        self._rest = rest

    @property
    def size(self) -> int | None:
        """Its bytes, where that is known."""
        return len(self._first) if self._rest is None else None

    async def blocks(self) -> AsyncIterator[bytes]:
        """The file's bytes; raises where it breaks off."""
        yield self._first
        if self._rest is not None:
            async for block in self._rest:
                yield block

    async def close(self) -> None:
        if self._rest is not None:
            await self._rest.aclose()


class Exporting:
    """Makes files of sessions, of one moment: the one at which it begins."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        contents: ExportContents,
        scratch: Scratch,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._contents = contents
        self._scratch = scratch

    async def open(
        self, principal: Principal, session_id: str, request: ExportRequest, describe: Describe
    ) -> Export:
        """Begin to export; `describe` gives the session as the original service's JSON has it.

        A session that changes before the first bytes are sent is read again.
        """
        request = request.checked()
        attempts = ATTEMPTS
        while True:
            session = await self._sessions.open(principal, session_id)

            async def use(session: Session = session) -> None:
                # It stays awake while it is exported, as long as the caller may read it.
                await self._sessions.awake(await self._sessions.get(principal, session.id))

            blocks = self._blocks(session, request, describe, use)
            try:
                return await _begun(session, blocks)
            except ExportBrokenOff:
                attempts -= 1
                if not attempts:
                    raise

    async def bundle(self, session: Session) -> Export:
        """A bundle for the operator; nobody's use of the session."""
        awake = await self._sessions.awake(session)

        async def use() -> None:
            await self._sessions.awake(awake)

        return await _begun(awake, self._blocks(awake, BUNDLE, _undescribed, use))

    async def _blocks(
        self, session: Session, request: ExportRequest, describe: Describe, use: Use
    ) -> AsyncGenerator[bytes, None]:
        """The file, its last block only after a look at whether all of it is of one moment."""
        waiting: bytes | None = None
        used = time.monotonic()
        try:
            contents = self._contents.of(session, request.selection)
            async with self._scratch.folder() as folder, aclosing(contents):
                written = await _written(session, contents, request, describe, folder)
                async with aclosing(written) as blocks:
                    async for block in blocks:
                        if waiting:
                            yield waiting
                        waiting = block
                        if time.monotonic() - used > USE_SECONDS:
                            used = time.monotonic()
                            await use()
            await self._require_unchanged(session)
            if waiting:
                yield waiting
        except CollectionNotFound as error:
            raise _broken_off(session) from error

    async def _require_unchanged(self, session: Session) -> None:
        """Raise if anything was taken from the session, or it was switched, since it was read."""
        latest = await self._repository.latest(session.id)
        if (
            latest is None
            or latest.collection != session.collection
            or latest.removals != session.removals
        ):
            raise _broken_off(session)


async def _written(
    session: Session,
    contents: SessionContents,
    request: ExportRequest,
    describe: Describe,
    folder: Path,
) -> AsyncGenerator[bytes, None]:
    match request.format:
        case Format.BUNDLE:
            return write_bundle(await contents.bundle(vectors=request.vectors), folder)
        case Format.PARQUET:
            from quire.bundle.formats.parquet import write_parquet  # noqa: PLC0415 - it is large

            dimension = session.embedding.dimension
            return write_parquet(contents.points(), folder, dimension, vectors=request.vectors)
        case Format.JSONL:
            return write_jsonl(contents.points(), vectors=request.vectors)
        case Format.CSV:
            return write_csv(contents.points(), vectors=request.vectors)
        case _:
            return write_session_json(
                describe(session),
                session.collection,
                contents.points() if request.points else None,
                timestamp=now().isoformat(),
            )


def _undescribed(session: Session) -> Mapping[str, Any]:
    return {}


async def _begun(session: Session, blocks: AsyncGenerator[bytes, None]) -> Export:
    first: list[bytes] = []
    size = 0
    try:
        async for block in blocks:
            first.append(block)
            size += len(block)
            if size >= HELD_BACK_BYTES:
                return Export(session, b"".join(first), blocks)
    except BaseException:
        await blocks.aclose()
        raise
    return Export(session, b"".join(first), None)


def _broken_off(session: Session) -> ExportBrokenOff:
    return ExportBrokenOff(
        f"Session {session.id} lost points or was switched over while it was exported",
        session_id=session.id,
    )
