"""What differs between two checkpoints, or between one and now.

Both sides come in the order of ids, so they are compared as they come, in constant memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quire.access.principal import Principal
from quire.content.models import Document
from quire.points.visibility import consistent, visible
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions
from quire.transfer.checkpoint_rows import Checkpoint
from quire.transfer.checkpoint_stores import Stores
from quire.transfer.checkpoints import NOW
from quire.transfer.kept_points import Reading
from quire.transfer.selection import order_of
from quire.vectors.digest import point_hash
from quire.vectors.port import Point, PointId, Record, VectorEngine


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing of either side: its id, where that is in the order, and what tells it apart."""

    id: PointId
    order: tuple[int, int, str]
    content: object


@dataclass(slots=True)
class Changes:
    """How many were added, removed, changed; and the first of each, as many as were asked for."""

    most: int
    unchanged: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    first_added: list[PointId] = field(default_factory=list)
    first_removed: list[PointId] = field(default_factory=list)
    first_changed: list[PointId] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        self.added += 1
        self._note(self.first_added, entry)

    def remove(self, entry: Entry) -> None:
        self.removed += 1
        self._note(self.first_removed, entry)

    def compare(self, old: Entry, new: Entry) -> None:
        if old.content == new.content:
            self.unchanged += 1
        else:
            self.changed += 1
            self._note(self.first_changed, new)

    def _note(self, first: list[PointId], entry: Entry) -> None:
        if len(first) < self.most:
            first.append(entry.id)


@dataclass(frozen=True, slots=True)
class Difference:
    """From one state of a session to another."""

    session_id: str
    older: str
    newer: str
    points: Changes
    documents: Changes


class CheckpointDiff:
    """Compares what a session was with what it was later, or is."""

    def __init__(self, sessions: Sessions, stores: Stores, engine: VectorEngine) -> None:
        self._sessions = sessions
        self._stores = stores
        self._engine = engine

    async def diff(
        self, principal: Principal, session_id: str, older: str, newer: str, *, most: int
    ) -> Difference:
        """From checkpoint `older` to `newer`, another one or `now`; `most` ids of each kind."""
        session = await self._sessions.peek(principal, session_id)
        first = await self._stores.records.required(session_id, older)
        if newer != NOW:
            second = await self._stores.records.required(session_id, newer)
            return await self._compare(session, first, second, most)
        awake = await self._sessions.open(principal, session_id)
        return await consistent(
            self._sessions, awake, lambda session: self._compare(session, first, None, most)
        )

    async def _compare(
        self, session: Session, first: Checkpoint, second: Checkpoint | None, most: int
    ) -> Difference:
        newer = NOW if second is None else second.name
        found = Difference(session.id, first.name, newer, Changes(most), Changes(most))
        if second is not None and _holds_the_same(first, second):
            found.points.unchanged = first.points_count
        else:
            await self._compare_points(session, first, second, found.points)
        files = self._stores.documents
        old = files.read(str(first.documents_sha256))
        if second is None:
            new = files.present(session.id)
        else:
            new = files.read(str(second.documents_sha256))
        async with aclosing(_documents(old)) as before, aclosing(_documents(new)) as after:
            await _merge_join(before, after, found.documents)
        return found

    async def _compare_points(
        self, session: Session, first: Checkpoint, second: Checkpoint | None, changes: Changes
    ) -> None:
        async with AsyncExitStack() as stack:
            folder = await stack.enter_async_context(self._stores.points.folder())
            old = await self._file(first, folder / "older")
            new: AsyncIterator[Sequence[Point | Record]]
            if second is not None:
                new = await self._file(second, folder / "newer")
            else:
                stream = self._engine.stream(session.collection, filter=visible(session))
                new = await stack.enter_async_context(aclosing(stream))
            before = await stack.enter_async_context(aclosing(_points(old)))
            after = await stack.enter_async_context(aclosing(_points(new)))
            await _merge_join(before, after, changes)

    async def _file(self, checkpoint: Checkpoint, path: Path) -> Reading:
        await self._stores.points.fetch(str(checkpoint.points_sha256), path)
        return Reading(path)


def _holds_the_same(one: Checkpoint, other: Checkpoint) -> bool:
    return (one.points_count, one.digest) == (other.points_count, other.digest)


async def _merge_join(
    old: AsyncGenerator[Entry, None], new: AsyncGenerator[Entry, None], changes: Changes
) -> None:
    left, right = await anext(old, None), await anext(new, None)
    while left is not None and right is not None:
        if left.order < right.order:
            changes.remove(left)
            left = await anext(old, None)
        elif right.order < left.order:
            changes.add(right)
            right = await anext(new, None)
        else:
            changes.compare(left, right)
            left, right = await anext(old, None), await anext(new, None)
    while left is not None:
        changes.remove(left)
        left = await anext(old, None)
    while right is not None:
        changes.add(right)
        right = await anext(new, None)


async def _points(
    batches: AsyncIterator[Sequence[Point | Record]],
) -> AsyncGenerator[Entry, None]:
    async for batch in batches:
        for entry in await asyncio.to_thread(_hashed, batch):
            yield entry


def _hashed(batch: Sequence[Point | Record]) -> list[Entry]:
    return [Entry(point.id, order_of(point.id), point_hash(point)) for point in batch]


async def _documents(
    pages: AsyncGenerator[list[Document], None],
) -> AsyncGenerator[Entry, None]:
    async with aclosing(pages):
        async for page in pages:
            for document in page:
                yield Entry(document.id, (1, 0, document.id), _content(document))


def _content(document: Document) -> tuple[Any, ...]:
    """What of a document counts: not where it stands, nor which revision it is."""
    return (
        document.content_sha256,
        document.status,
        document.title,
        document.media_type,
        document.source_url,
        document.metadata,
        document.chunking,
    )
