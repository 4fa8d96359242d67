"""What becomes of documents that several sessions have, by id or by content.

A document that a split has torn apart is put together again: where two sessions hold the very same
one, its row comes from the first of them, and its chunks from both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from quire.content.models import DocumentStatus
from quire.errors import PointConflict
from quire.store.database import Database
from quire.store.tables import documents
from quire.transfer.feeds import EVERYTHING, Build, Dedupe, Feed, OnConflict, other_id

COLUMNS = (
    documents.c.session_id,
    documents.c.id,
    documents.c.revision,
    documents.c.content_sha256,
    documents.c.chunking,
    documents.c.first_seq,
)


SEEN = (documents.c.is_current, documents.c.status == DocumentStatus.READY.value)


@dataclass(frozen=True, slots=True)
class Fates:
    """Of the documents of one source that meet others."""

    left_out: frozenset[str] = frozenset()
    other: Mapping[str, str] = field(default_factory=dict)
    """The ids of those that get another one."""
    homes: Mapping[str, int] = field(default_factory=dict)
    """Of those that are there already: the seq that their first chunk has there."""


NO_FATES = Fates()


class FatesOfDocuments:
    """Decides for one build, in the order in which the earlier source wins over the later."""

    def __init__(self, database: Database, build: Build) -> None:
        self._database = database
        self._build = build
        self._stays: dict[tuple[int, str], bool] = {}

    async def of(self, number: int, names: Sequence[str]) -> Fates:
        """What becomes of these documents of the feed with this number."""
        build = self._build
        feed, winners = build.feeds[number], self._winners(number)
        if not winners or not names:
            return NO_FATES
        rows = await self._found(feed.session_id, winners, names)
        mine = {row.id: row for row in rows if row.session_id == feed.session_id}
        first = await self._first(winners, [row for row in rows if row.id in mine])
        homes = {
            name: winner.home
            for name, winner in first.items()
            if name in mine and _is_same(feed, mine[name], winner)
        }
        left_out: set[str] = set()
        if build.dedupe is Dedupe.CONTENT:
            left_out = await self._twins(winners, feed.session_id, names) - homes.keys()
        elif build.on_conflict is OnConflict.KEEP_BOTH:
            homes = {}  # both are wanted, though they are the same
        differing = (first.keys() & mine.keys()) - homes.keys() - left_out
        if build.on_conflict is OnConflict.KEEP_BOTH:
            return Fates(frozenset(left_out), await self._other_ids(feed, differing), homes)
        if differing and build.on_conflict is OnConflict.FAIL:
            name = min(differing)
            raise PointConflict(f"Document {name} of {feed.session_id} is in another source too")
        return Fates(frozenset(left_out | differing), homes=homes)

    def _winners(self, number: int) -> list[Feed]:
        base = self._build.base
        first = [] if base is None else [Feed(base, EVERYTHING)]
        return [*first, *self._build.feeds[:number]]

    async def _found(
        self, session_id: str, winners: Sequence[Feed], names: Sequence[str]
    ) -> Sequence[Row]:
        """The documents of these names, the session's own and the winners'."""
        query = sa.select(*COLUMNS).where(
            documents.c.session_id.in_([session_id, *(feed.session_id for feed in winners)]),
            documents.c.id.in_(names),
            *SEEN,
        )
        async with self._database.read() as connection:
            return [Row(*row) for row in await connection.execute(query)]

    async def _first(self, winners: Sequence[Feed], rows: Sequence[Row]) -> Mapping[str, Winner]:
        """Of each name the first winner whose document of that name goes in."""
        order = {feed.session_id: place for place, feed in enumerate(winners)}
        others = await self._going_in(order, [row for row in rows if row.session_id in order])
        # The last assignment is the one that counts: the earliest winner's.
        others.sort(key=lambda row: -order[row.session_id])
        return {row.id: Winner(row, winners[order[row.session_id]]) for row in others}

    async def _twins(
        self, winners: Sequence[Feed], session_id: str, names: Sequence[str]
    ) -> set[str]:
        """Those of the documents whose content goes in with a winner, whatever its name there."""
        order = {feed.session_id: place for place, feed in enumerate(winners)}
        mine = documents.alias("mine")
        query = sa.select(*COLUMNS, mine.c.id).where(
            mine.c.session_id == session_id,
            mine.c.id.in_(names),
            mine.c.is_current,
            documents.c.session_id.in_(list(order)),
            documents.c.content_sha256 == mine.c.content_sha256,
            *SEEN,
        )
        async with self._database.read() as connection:
            pairs = [(Row(*row[:-1]), row[-1]) for row in await connection.execute(query)]
        going_in = await self._going_in(order, [row for row, _ in pairs])
        there = {(row.session_id, row.id) for row in going_in}
        return {name for row, name in pairs if (row.session_id, row.id) in there}

    async def _going_in(self, order: Mapping[str, int], rows: Sequence[Row]) -> list[Row]:
        """Without those that are left out themselves: they stand for nothing.

        Only content can have two of one name left out; by name alone the first one always stays.
        """
        if self._build.dedupe is Dedupe.NONE:
            return list(rows)
        for session_id in {row.session_id for row in rows}:
            number = order[session_id]
            ids = {row.id for row in rows if row.session_id == session_id}
            if new := [name for name in sorted(ids) if (number, name) not in self._stays]:
                left_out = (await self.of(number, new)).left_out
                self._stays |= {(number, name): name not in left_out for name in new}
        return [row for row in rows if self._stays[order[row.session_id], row.id]]

    async def _other_ids(self, feed: Feed, names: Iterable[str]) -> Mapping[str, str]:
        """Ids that none of the sessions has: the same source may have been merged before."""
        other = {name: other_id(feed.session_id, name) for name in names}
        while taken := await self._held(list(other.values())):
            for name, new in other.items():
                if new in taken:
                    other[name] = other_id(feed.session_id, new)
        return other

    async def _held(self, names: Sequence[str]) -> set[str]:
        sessions = [self._build.base, *(feed.session_id for feed in self._build.feeds)]
        query = sa.select(documents.c.id).where(
            documents.c.session_id.in_([name for name in sessions if name is not None]),
            documents.c.id.in_(names),
            documents.c.is_current,
        )
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())


class Row(NamedTuple):
    session_id: str
    id: str
    revision: int
    content_sha256: str
    chunking: Any
    first_seq: int | None


class Winner(NamedTuple):
    row: Row
    feed: Feed

    @property
    def home(self) -> int:
        return (self.row.first_seq or 0) + self.feed.seq_offset


def _is_same(feed: Feed, mine: Row, winner: Winner) -> bool:
    """Whether both are one document, cut alike: then an index means the same chunk in both."""
    row = winner.row
    return (
        (mine.revision, mine.content_sha256, mine.chunking)
        == (row.revision, row.content_sha256, row.chunking)
        and not feed.reembed
        and not winner.feed.reembed
    )
