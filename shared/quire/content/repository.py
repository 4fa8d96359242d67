"""Where documents are kept: rows beside their session's, and references to their blobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.blobs.ledger import BlobLedger
from quire.content.models import Document, DocumentStatus
from quire.content.rows import SELECT_DOCUMENTS, from_row, to_row
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import documents

# Names in one statement: SQLite takes 32,766 variables, and the planner likes far fewer.
IDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document in its job."""

    position: int
    status: DocumentStatus
    chunks_count: int = 0
    characters: int = 0
    first_seq: int | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Heading:
    """What a result tells of its document."""

    title: str | None
    source_url: str | None
    chunks_count: int


SELECT_HEADINGS = sa.select(
    documents.c.id, documents.c.title, documents.c.source_url, documents.c.chunks_count
).where(
    documents.c.session_id == sa.bindparam("of_session"),
    documents.c.id.in_(sa.bindparam("ids", expanding=True)),
    documents.c.is_current,
)


class DocumentRepository:
    """Documents in the metadata store."""

    def __init__(self, database: Database, ledger: BlobLedger) -> None:
        self._database = database
        self._ledger = ledger

    async def get(self, session_id: str, document_id: str) -> Document | None:
        """The revision that readers see."""
        query = SELECT_DOCUMENTS.where(
            documents.c.session_id == session_id,
            documents.c.id == document_id,
            documents.c.is_current,
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else from_row(row)

    async def page(
        self, session_id: str, *, after: int, limit: int, status: DocumentStatus | None = None
    ) -> Sequence[Document]:
        """Current revisions in their order, those that come after an ordinal."""
        query = (
            SELECT_DOCUMENTS.where(
                documents.c.session_id == session_id,
                documents.c.is_current,
                documents.c.ordinal > after,
            )
            .order_by(documents.c.ordinal)
            .limit(limit)
        )
        if status is not None:
            query = query.where(documents.c.status == status.value)
        async with self._database.read() as connection:
            return [from_row(row) for row in await connection.execute(query)]

    async def headings(
        self, session_id: str, document_ids: Collection[str]
    ) -> Mapping[str, Heading]:
        """What results tell of these documents, by id; quick, for every search asks it."""
        if not document_ids:
            return {}
        async with self._database.read() as connection:
            rows = await connection.execute(
                SELECT_HEADINGS, {"of_session": session_id, "ids": list(document_ids)}
            )
            return {row[0]: Heading(row[1], row[2], row[3]) for row in rows}

    async def current(self, session_id: str, document_ids: Collection[str]) -> Sequence[Document]:
        """Those of these documents that there are, as readers see them."""
        if not document_ids:
            return []
        async with self._database.read() as connection:
            known = await self.known(connection, session_id, "id", document_ids)
        return [document for document in known if document.is_current]

    async def of_job(self, job_id: str, *, start: int, limit: int) -> Sequence[Document]:
        """The documents that a job was given, from a position on."""
        query = (
            SELECT_DOCUMENTS.where(documents.c.job_id == job_id, documents.c.position >= start)
            .order_by(documents.c.position)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [from_row(row) for row in await connection.execute(query)]

    async def known(
        self, connection: AsyncConnection, session_id: str, column: str, values: Iterable[str]
    ) -> Sequence[Document]:
        """All revisions of the session whose column has one of the values."""
        found: list[Document] = []
        for batch in _batches(list(dict.fromkeys(values))):
            query = SELECT_DOCUMENTS.where(
                documents.c.session_id == session_id, documents.c[column].in_(batch)
            ).order_by(documents.c.revision)
            found += [from_row(row) for row in await connection.execute(query)]
        return found

    async def last_ordinal(self, connection: AsyncConnection, session_id: str) -> int:
        query = sa.select(sa.func.max(documents.c.ordinal))
        found = await connection.scalar(query.where(documents.c.session_id == session_id))
        return -1 if found is None else int(found)

    async def insert(self, connection: AsyncConnection, new: Sequence[Document]) -> None:
        """Write documents in their job's order, and refer to their blobs."""
        if not new:
            return
        await connection.execute(
            sa.insert(documents), [to_row(document, at) for at, document in enumerate(new)]
        )
        slices = [part for document in new for part in (document.raw, document.text) if part]
        for sha256 in sorted({part.sha256 for part in slices}):
            await self.refer(connection, new[0].session_id, sha256)

    async def refer(self, connection: AsyncConnection, session_id: str, sha256: str) -> None:
        await self._ledger.refer(connection, session_id, _holder(sha256), sha256)

    async def settle(
        self, connection: AsyncConnection, job_id: str, outcomes: Sequence[Outcome]
    ) -> None:
        """Note what became of a job's documents."""
        if not outcomes:
            return
        at = now()
        statement = (
            sa.update(documents)
            .where(documents.c.job_id == job_id, documents.c.position == sa.bindparam("at"))
            .values(
                status=sa.bindparam("status"),
                chunks_count=sa.bindparam("chunks_count"),
                characters=sa.bindparam("characters"),
                first_seq=sa.bindparam("first_seq"),
                error=sa.bindparam("error"),
                updated_at=at,
            )
        )
        await connection.execute(
            statement,
            [
                {
                    "at": outcome.position,
                    "status": outcome.status.value,
                    "chunks_count": outcome.chunks_count,
                    "characters": outcome.characters,
                    "first_seq": outcome.first_seq,
                    "error": outcome.error,
                }
                for outcome in outcomes
            ],
        )

    async def note_text(
        self, connection: AsyncConnection, document: Document, values: Mapping[str, Any]
    ) -> None:
        """Note what extraction found, on this revision."""
        await connection.execute(
            sa.update(documents).where(*_is(document)).values(updated_at=now(), **values)
        )

    async def replaced_by(
        self, connection: AsyncConnection, session_id: str, job_id: str
    ) -> Sequence[Document]:
        """The current revisions that the job's ready documents take the place of."""
        new = documents.alias("new")
        query = (
            SELECT_DOCUMENTS.join(
                new, sa.and_(new.c.session_id == documents.c.session_id, new.c.id == documents.c.id)
            )
            .where(
                new.c.job_id == job_id,
                new.c.status == DocumentStatus.READY.value,
                documents.c.session_id == session_id,
                documents.c.is_current,
                sa.or_(documents.c.job_id.is_(None), documents.c.job_id != job_id),
            )
            .order_by(documents.c.ordinal)
        )
        return [from_row(row) for row in await connection.execute(query)]

    async def remove(self, connection: AsyncConnection, gone: Sequence[Document]) -> None:
        """Remove these revisions, and the references to blobs that no other revision needs."""
        if not gone:
            return
        session_id = gone[0].session_id
        await connection.execute(
            sa.delete(documents).where(
                documents.c.session_id == sa.bindparam("of_session"),
                documents.c.id == sa.bindparam("of_id"),
                documents.c.revision == sa.bindparam("of_revision"),
            ),
            [{"of_session": d.session_id, "of_id": d.id, "of_revision": d.revision} for d in gone],
        )
        parts = [part for document in gone for part in (document.raw, document.text) if part]
        for sha256 in sorted({part.sha256 for part in parts}):
            needed = await connection.scalar(
                sa.select(documents.c.id)
                .where(
                    documents.c.session_id == session_id,
                    sa.or_(documents.c.raw_sha256 == sha256, documents.c.text_sha256 == sha256),
                )
                .limit(1)
            )
            if needed is None:
                await self._ledger.release(connection, session_id, _holder(sha256))

    async def make_current(self, connection: AsyncConnection, session_id: str, job_id: str) -> None:
        """Show the job's ready revisions; those they replace must be gone already."""
        await connection.execute(
            sa.update(documents)
            .where(
                documents.c.session_id == session_id,
                documents.c.job_id == job_id,
                documents.c.status == DocumentStatus.READY.value,
            )
            .values(is_current=True, updated_at=now())
        )

    async def note_failed_updates(
        self, connection: AsyncConnection, session_id: str, job_id: str
    ) -> None:
        """Of a new revision that failed the error stays, with the revision that is still shown."""
        rows = await connection.execute(
            SELECT_DOCUMENTS.where(
                documents.c.session_id == session_id,
                documents.c.job_id == job_id,
                documents.c.status == DocumentStatus.FAILED.value,
                ~documents.c.is_current,
            )
        )
        failed = [from_row(row) for row in rows]
        for document in failed:
            await connection.execute(
                sa.update(documents)
                .where(
                    documents.c.session_id == session_id,
                    documents.c.id == document.id,
                    documents.c.is_current,
                )
                .values(error=document.error, updated_at=now())
            )
        await self.remove(connection, failed)

    async def next_first_seq(self, session_id: str, seq: int) -> int | None:
        """The first seq from this one on at which a document's chunks begin or go on."""
        last = documents.c.first_seq + documents.c.chunks_count
        query = sa.select(sa.func.min(documents.c.first_seq)).where(
            documents.c.session_id == session_id, documents.c.is_current, last > seq
        )
        async with self._database.read() as connection:
            first = (await connection.execute(query)).scalar_one()
        return None if first is None else max(seq, int(first))

    async def last_seq_before(self, session_id: str, seq: int) -> int | None:
        """The last seq before this one that a document's chunk has."""
        last = documents.c.first_seq + documents.c.chunks_count - 1
        query = sa.select(sa.func.max(last)).where(
            documents.c.session_id == session_id,
            documents.c.is_current,
            documents.c.chunks_count > 0,
            documents.c.first_seq < seq,
        )
        async with self._database.read() as connection:
            found = (await connection.execute(query)).scalar_one()
        return None if found is None else min(seq - 1, int(found))

    async def all_of_job(self, connection: AsyncConnection, job_id: str) -> Sequence[Document]:
        query = SELECT_DOCUMENTS.where(documents.c.job_id == job_id)
        query = query.order_by(documents.c.position)
        return [from_row(row) for row in await connection.execute(query)]


def _is(document: Document) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        documents.c.session_id == document.session_id,
        documents.c.id == document.id,
        documents.c.revision == document.revision,
    )


def _holder(sha256: str) -> str:
    return f"document/{sha256}"


def _batches(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[at : at + IDS_AT_ONCE] for at in range(0, len(values), IDS_AT_ONCE))
