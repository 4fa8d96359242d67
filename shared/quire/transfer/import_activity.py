"""Activity out of a bundle: bytes into blobs, rows beside the session's; again is no error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from quire.activity.attachment_arrival import arriving
from quire.activity.attachment_models import holder_of
from quire.activity.media_sniffing import media_type_of
from quire.activity.message_words import MessageWords
from quire.blobs.ledger import BlobLedger
from quire.bundle.reading import BundleReader
from quire.embedding.port import EXTERNAL
from quire.errors import BodyTooLarge, FileRefused
from quire.sessions.models import Session
from quire.settings import Settings
from quire.store.database import Database
from quire.store.tables import conversations
from quire.store.upsert import insert_into
from quire.transfer.activity_checked import ActivityChecks, refused
from quire.transfer.activity_plan import Kind
from quire.transfer.activity_told import CONVERSATION

BATCH = 50

Row = dict[str, Any]


class ImportActivity:
    """Takes activity over, some rows at a time."""

    def __init__(self, database: Database, ledger: BlobLedger, settings: Settings) -> None:
        self._database = database
        self._ledger = ledger
        self._settings = settings.activity
        self._checks = ActivityChecks(settings, MessageWords(database))

    async def take(
        self,
        kind: Kind,
        reader: BundleReader,
        session_id: str,
        job_id: str,
        skip: int,
        *,
        with_author: bool,
    ) -> AsyncIterator[int]:
        """From the line behind `skip` on; tells after each few how many are there."""
        told = islice(reader.table(kind.value), skip, None)
        done = skip
        while page := await asyncio.to_thread(self._page, told, kind, done, with_author):
            rows = [{**row, "session_id": session_id, "job_id": job_id} for _, row in page]
            if kind is Kind.ATTACHMENTS:
                places = [line["content"] for line, _ in page]
                await self._attach(reader, rows, places, done)
            elif kind is Kind.MESSAGES:
                rows = [{**row, "ordinal": done + n} for n, row in enumerate(rows)]
            await self._insert(kind, rows)
            done += len(page)
            yield done

    async def begin_conversation(
        self, reader: BundleReader, session: Session, messages: int
    ) -> None:
        """Write its row, as far as the file tells of it; nobody else can have."""
        told = await asyncio.to_thread(lambda: list(reader.table("settings")))
        is_semantic = any(row.get("name") == CONVERSATION and _is_semantic(row) for row in told)
        if messages or is_semantic:
            row = {
                "session_id": session.id,
                "next_ordinal": messages,
                "is_semantic": is_semantic and session.embedding.provider != EXTERNAL,
            }
            async with self._database.write() as connection:
                insert = insert_into(self._database, conversations).values(row)
                await connection.execute(insert.on_conflict_do_nothing())

    async def require_all(self, session_id: str, expected: Mapping[str, int]) -> None:
        """Raise unless everything that the file told of is there."""
        for kind in Kind:
            query = sa.select(sa.func.count()).where(kind.table.c.session_id == session_id)
            async with self._database.read() as connection:
                found = await connection.scalar(query)
            if found != expected.get(kind.value, 0):
                raise FileRefused(f"The bundle has {kind.value} with the same {kind.key}")

    def _page(
        self,
        told: Iterator[Mapping[str, Any]],
        kind: Kind,
        done: int,
        with_author: bool,
    ) -> list[tuple[Mapping[str, Any], Row]]:
        lines = enumerate(islice(told, BATCH), done + 1)
        return [
            (line, self._checks.row(kind, line, n, with_author=with_author)) for n, line in lines
        ]

    async def _attach(
        self,
        reader: BundleReader,
        rows: Sequence[Row],
        places: Sequence[Mapping[str, int]],
        done: int,
    ) -> None:
        """Keep their bytes, which tell what they are."""
        for number, (row, place) in enumerate(zip(rows, places, strict=True), done + 1):
            most = self._settings.attachment_bytes
            try:
                head, whole = await arriving(_content(reader, place), most)
                blob = await self._ledger.put(whole)
            except BodyTooLarge as error:
                raise refused(Kind.ATTACHMENTS, number, error.message) from None
            if blob.sha256 != row["sha256"]:
                raise refused(Kind.ATTACHMENTS, number, "its bytes have another sha256")
            row["media_type"] = media_type_of(row["media_type"], head)

    async def _insert(self, kind: Kind, rows: Sequence[Row]) -> None:
        insert = insert_into(self._database, kind.table).on_conflict_do_nothing()
        async with self._database.write() as connection:
            await connection.execute(insert, list(rows))
            if kind is Kind.ATTACHMENTS:
                for row in rows:
                    holder = holder_of(row["name"])
                    await self._ledger.refer(connection, row["session_id"], holder, row["sha256"])


async def _content(reader: BundleReader, place: Mapping[str, int]) -> AsyncIterator[bytes]:
    blocks = reader.content(place["pack"], place["start"], place["end"])
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block


def _is_semantic(row: Mapping[str, Any]) -> bool:
    if not isinstance(row.get("semantic"), bool):
        raise FileRefused("The bundle's settings do not say whether the conversation is semantic")
    return bool(row["semantic"])
