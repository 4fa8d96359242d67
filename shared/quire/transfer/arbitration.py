"""Which points go in when ids, documents or contents meet, decided point by point.

Every decision depends on the sessions alone, none on what has been written so far: a portion that
is run again after a crash decides as before. Chunks share the fate of their document, so that no
document is torn apart.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
import sqlalchemy as sa

from quire.errors import PointConflict
from quire.store.database import Database
from quire.store.tables import claims
from quire.store.upsert import insert_into
from quire.transfer.fates import Fates, FatesOfDocuments
from quire.transfer.feeds import ORIGIN, Build, Dedupe, Feed, OnConflict, other_id
from quire.vectors.port import STAGE, PointId, Record, VectorEngine

CLAIMS_AT_ONCE = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be written, and what became of the rest."""

    records: Sequence[Record]
    left_out: int = 0
    renamed: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """A point that goes in, perhaps under another id."""

    record: Record
    is_renamed: bool = False

    @property
    def id(self) -> PointId:
        return self.record.id


class Arbiter:
    """Decides for one build, by what the sources hold.

    Writers of sources that are to be archived wait. Others may change meanwhile: should that bring
    an id into two sources after they were looked at, the count of what was written is found wrong.
    """

    def __init__(self, engine: VectorEngine, database: Database, build: Build, job_id: str) -> None:
        self._engine = engine
        self._database = database
        self._build = build
        self._job_id = job_id
        self._documents = FatesOfDocuments(database, build)

    async def decide(
        self,
        number: int,
        earlier: Sequence[str],
        everywhere: Sequence[str],
        records: Sequence[Record],
    ) -> Verdict:
        """On points of the feed with this number.

        `earlier` are the collections that come before it, `everywhere` are all.
        """
        if not self._build.arbitrated:
            return Verdict(records)
        feed = self._build.feeds[number]
        names = {str(r.payload["document_id"]) for r in records if STAGE in r.payload}
        fates = await self.fates(number, sorted(names))
        taken = await self._taken_in(number, earlier, [record.id for record in records])
        settled = [self._settled(feed, record, fates, record.id in taken) for record in records]
        kept = [one for one in settled if one is not None]
        if self._build.dedupe is Dedupe.CONTENT:
            kept = await self._first_of_their_content(number, kept)
            await self._claim_ids(number, kept)
        moved = [one.id for one in kept if one.is_renamed]
        ids = await self._other_ids(feed, moved, everywhere)
        return Verdict(
            [_renamed(feed, one, ids) for one in kept], len(records) - len(kept), len(moved)
        )

    async def fates(self, number: int, names: Sequence[str]) -> Fates:
        """What becomes of these documents of a feed, by the documents that come before it."""
        return await self._documents.of(number, names)

    async def _taken_in(
        self, number: int, earlier: Sequence[str], ids: Sequence[PointId]
    ) -> set[PointId]:
        """The ids that points have which come before, and go in."""
        if self._build.dedupe is Dedupe.NONE:
            return await self._taken(earlier, ids)
        if not self._build.conflicts:
            return set()
        owners = await self._owners([_id_key(identity) for identity in ids])
        mine = [(identity, owners.get(_id_key(identity))) for identity in ids]
        return {identity for identity, owner in mine if owner is not None and owner[0] < number}

    async def _claim_ids(self, number: int, kept: Sequence[Settled]) -> None:
        """What is left out for its content leaves its id to others."""
        if self._build.conflicts:
            await self._claim(number, {o.id: _id_key(o.id) for o in kept if not o.is_renamed})

    async def _taken(self, earlier: Sequence[str], ids: Sequence[PointId]) -> set[PointId]:
        if not self._build.conflicts:
            return set()
        found = await asyncio.gather(
            *(self._engine.retrieve(name, ids, with_payload=False) for name in earlier)
        )
        return {record.id for records in found for record in records}

    async def _other_ids(
        self, feed: Feed, ids: Sequence[PointId], everywhere: Sequence[str]
    ) -> Mapping[PointId, PointId]:
        """Ids that no session has: the same source may have been merged before."""
        other: dict[PointId, PointId] = {
            identity: other_id(feed.session_id, identity) for identity in ids
        }
        while other and (taken := await self._taken(everywhere, list(other.values()))):
            for identity, new in other.items():
                if new in taken:
                    other[identity] = other_id(feed.session_id, new)
        return other

    def _settled(self, feed: Feed, record: Record, fates: Fates, is_taken: bool) -> Settled | None:
        document_id = record.payload.get("document_id") if STAGE in record.payload else None
        if document_id in fates.left_out:
            return None
        if document_id in fates.other:
            payload = {**record.payload, "document_id": fates.other[str(document_id)]}
            return Settled(replace(record, payload=payload), is_renamed=True)
        if is_taken:
            return self._taken_before(feed, record, is_at_home=document_id in fates.homes)
        if document_id in fates.homes:
            seq = fates.homes[str(document_id)] + record.payload["index"] - feed.seq_offset
            return Settled(replace(record, payload={**record.payload, "seq": seq}))
        return Settled(record)

    def _taken_before(self, feed: Feed, record: Record, *, is_at_home: bool) -> Settled | None:
        match self._build.on_conflict:
            case OnConflict.FAIL:
                raise PointConflict(
                    f"Point {record.id} of {feed.session_id} is in another source too"
                )
            case OnConflict.KEEP_BOTH if not is_at_home:
                return Settled(record, is_renamed=True)
            case _:
                return None

    async def _first_of_their_content(
        self, number: int, settled: Sequence[Settled]
    ) -> list[Settled]:
        """Without the points that say what an earlier one says; chunks went with documents."""
        keys = {one.id: _content(one.record) for one in settled if STAGE not in one.record.payload}
        owners = await self._claim(number, keys)
        return [
            one
            for one in settled
            if one.id not in keys or owners[keys[one.id]] == (number, str(one.id))
        ]

    async def _claim(
        self, number: int, keys: Mapping[PointId, bytes]
    ) -> dict[bytes, tuple[int, str]]:
        """Who has each of these: whoever asked first, and again in a second run."""
        entries = [
            {"job_id": self._job_id, "key": key, "source": number, "point_id": str(identity)}
            for identity, key in keys.items()
        ]
        for start in range(0, len(entries), CLAIMS_AT_ONCE):
            batch = entries[start : start + CLAIMS_AT_ONCE]
            insert = insert_into(self._database, claims).values(batch).on_conflict_do_nothing()
            async with self._database.write() as connection:
                await connection.execute(insert)
        return await self._owners(list(keys.values()))

    async def _owners(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, str]]:
        owners: dict[bytes, tuple[int, str]] = {}
        async with self._database.read() as connection:
            for start in range(0, len(keys), CLAIMS_AT_ONCE):
                query = sa.select(claims.c.key, claims.c.source, claims.c.point_id).where(
                    claims.c.job_id == self._job_id,
                    claims.c.key.in_(keys[start : start + CLAIMS_AT_ONCE]),
                )
                for key, source, point_id in await connection.execute(query):
                    owners[bytes(key)] = (source, point_id)
        return owners


def _renamed(feed: Feed, one: Settled, ids: Mapping[PointId, PointId]) -> Record:
    if not one.is_renamed:
        return one.record
    origin = {"session_id": feed.session_id, "id": one.id}
    return replace(one.record, id=ids[one.id], payload={**one.record.payload, ORIGIN: origin})


def _content(record: Record) -> bytes:
    """Of a point's text; of a point without one, of all it holds."""
    text = record.payload.get("text")
    if isinstance(text, str):
        said = b"t" + text.encode(errors="surrogatepass")
    else:
        said = b"p" + orjson.dumps(record.payload, option=orjson.OPT_SORT_KEYS)
        said += repr(record.dense).encode()
    return hashlib.blake2b(said, digest_size=16).digest()


def _id_key(identity: PointId) -> bytes:
    return hashlib.blake2b(f"i{identity}".encode(), digest_size=16).digest()
