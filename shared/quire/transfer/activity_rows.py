"""Activity on its way from session to session: conversation, invocations, data, attachments.

It comes in the transaction that shows what a transfer made, from row to row within the database:
none of it passes through this process, and never more than a few rows at once are in any memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.activity.attachment_models import holder_of
from quire.blobs.ledger import BlobLedger
from quire.store.database import Database
from quire.store.tables import (
    attachments,
    blob_references,
    clusterings,
    invocations,
    lineage,
    replaced_data,
    session_data,
    sessions,
)
from quire.store.upsert import insert_into
from quire.transfer.activity_copying import AT_ONCE, PAGE, brought, by_name, placed, tell_origins
from quire.transfer.activity_messages import MessageCopies
from quire.transfer.activity_names import Naming, is_live
from quire.transfer.activity_plan import Bringing, Kind, in_order, place, plan, renamed


class ActivityRows:
    """Brings activity to sessions, and takes away again what a job brought."""

    def __init__(self, database: Database, ledger: BlobLedger) -> None:
        self._database = database
        self._ledger = ledger
        self._messages = MessageCopies(database)

    async def count(self, session_id: str) -> dict[str, int]:
        """How much a session has, of each kind."""
        counted: dict[str, int] = {}
        async with self._database.read() as connection:
            for kind in Kind:
                query = sa.select(sa.func.count()).where(kind.table.c.session_id == session_id)
                if kind is Kind.ATTACHMENTS:
                    query = query.where(is_live(attachments))
                counted[kind.value] = int(await connection.scalar(query) or 0)
        return counted

    async def bring(self, bringing: Bringing, connection: AsyncConnection) -> dict[str, Any]:
        """Bring what the sources have; answers how much that is, and what is called otherwise."""
        naming = Naming(connection, bringing)
        await _hold(connection, bringing.sources)
        async with plan(connection):
            await naming.settle()
            counts = {
                Kind.ATTACHMENTS: await self._attachments(connection, bringing),
                Kind.DATA: await self._data(connection, bringing),
                Kind.INVOCATIONS: await self._invocations(connection, bringing, naming),
                Kind.MESSAGES: await self._messages.bring(connection, bringing, naming),
            }
            for kind in (Kind.INVOCATIONS, Kind.MESSAGES):
                await tell_origins(connection, kind, bringing.target)
        return {**{kind.value: count for kind, count in counts.items()}, **naming.report()}

    async def bring_clustering(self, bringing: Bringing, connection: AsyncConnection) -> None:
        """Bring how the points were clustered, where it is the very same points that come."""
        columns = clusterings.c.keys()
        (source,) = bringing.sources
        theirs = clusterings.c.session_id == source
        query = sa.select(
            *(sa.literal(bringing.target) if c.name == "session_id" else c for c in clusterings.c)
        ).where(theirs)
        await connection.execute(sa.insert(clusterings).from_select(columns, query))
        held = sa.select(blob_references.c.holder, blob_references.c.sha256).join(
            clusterings,
            (clusterings.c.session_id == blob_references.c.session_id)
            & (clusterings.c.model_sha256 == blob_references.c.sha256),
        )
        for holder, sha256 in (await connection.execute(held.where(theirs))).all():
            await self._ledger.refer(connection, bringing.target, holder, sha256)

    async def take_back(self, connection: AsyncConnection, session_id: str, job_id: str) -> None:
        """Remove what a job brought to a session, and put back the data that it replaced."""
        for kind in Kind:
            table = kind.table
            await connection.execute(
                sa.delete(table).where(table.c.session_id == session_id, table.c.job_id == job_id)
            )
        # After the rows, as a sweep does it: or the two could wait for each other.
        is_there = sa.exists().where(
            attachments.c.session_id == session_id,
            sa.literal(holder_of("")) + attachments.c.name == blob_references.c.holder,
        )
        await connection.execute(
            sa.delete(blob_references).where(
                blob_references.c.session_id == session_id,
                blob_references.c.holder.startswith(holder_of(""), autoescape=True),
                ~is_there,
            )
        )
        was = [replaced_data.c.session_id == session_id, replaced_data.c.by_job_id == job_id]
        columns = session_data.c.keys()
        before = sa.select(*(replaced_data.c[name] for name in columns)).where(*was)
        await connection.execute(
            insert_into(self._database, session_data)
            .from_select(columns, before)
            .on_conflict_do_nothing()  # somebody has written there since
        )
        await connection.execute(sa.delete(replaced_data).where(*was))

    async def forget(self, before: datetime) -> None:
        """Let go of replaced data that jobs concluded before that moment replaced."""
        late = sa.select(lineage.c.job_id).where(lineage.c.created_at < before)
        async with self._database.write() as connection:
            await connection.execute(
                sa.delete(replaced_data).where(replaced_data.c.by_job_id.in_(late))
            )

    async def _attachments(self, connection: AsyncConnection, bringing: Bringing) -> int:
        count = 0
        for session_id in bringing.sources:
            count += await by_name(connection, bringing, Kind.ATTACHMENTS, session_id)
        query = (
            sa.select(attachments.c.name, attachments.c.sha256)
            .where(
                attachments.c.session_id == bringing.target,
                attachments.c.job_id == bringing.job_id,
            )
            .order_by(attachments.c.name)
            .limit(PAGE)
        )
        after = ""
        while page := (await connection.execute(query.where(attachments.c.name > after))).all():
            for name, sha256 in page:
                await self._ledger.refer(connection, bringing.target, holder_of(name), sha256)
            after = page[-1].name
        return count

    async def _data(self, connection: AsyncConnection, bringing: Bringing) -> int:
        if bringing.joined and bringing.last_wins:
            await _replace(connection, bringing)
        count = 0
        for session_id in bringing.sources:
            count += await by_name(connection, bringing, Kind.DATA, session_id)
        return count

    async def _invocations(
        self, connection: AsyncConnection, bringing: Bringing, naming: Naming
    ) -> int:
        places = await place(connection, Kind.INVOCATIONS, bringing)
        said, is_said = renamed(Kind.INVOCATIONS, invocations.c.session_id, invocations.c.id)
        values = {
            "session_id": sa.literal(bringing.target),
            "id": sa.func.coalesce(said.c.other, invocations.c.id),
            "job_id": sa.literal(bringing.job_id),
        }
        source = in_order(Kind.INVOCATIONS).outerjoin(said, is_said)
        count = await placed(connection, Kind.INVOCATIONS, source, values, places)
        for session_id, names in naming.attachments.items():
            if names:
                await _rename_attachments(connection, bringing, session_id, names)
        return count


async def _hold(connection: AsyncConnection, session_ids: Sequence[str]) -> None:
    """Whoever writes to these sessions waits: what comes is of one moment."""
    chosen = sa.select(sessions.c.id).where(sessions.c.id.in_(session_ids))
    await connection.execute(chosen.order_by(sessions.c.id).with_for_update())


async def _replace(connection: AsyncConnection, bringing: Bringing) -> None:
    """Lay aside the target's own data whose keys come with others."""
    said, is_said = renamed(Kind.DATA, session_data.c.session_id, session_data.c.key)
    is_mine = session_data.c.session_id == bringing.target
    query = sa.select(session_data.c.key).join(said, is_said).where(is_mine).limit(AT_ONCE)
    while keys := (await connection.execute(query)).scalars().all():
        going = [is_mine, session_data.c.key.in_(keys)]
        columns = session_data.c.keys()
        await connection.execute(
            sa.insert(replaced_data).from_select(
                ["by_job_id", *columns],
                sa.select(sa.literal(bringing.job_id), *session_data.c).where(*going),
            )
        )
        await connection.execute(sa.delete(session_data).where(*going))


async def _rename_attachments(
    connection: AsyncConnection, bringing: Bringing, session_id: str, names: Mapping[str, str]
) -> None:
    """Have a session's invocations name their attachments as they are called now."""
    async for row in brought(connection, Kind.INVOCATIONS, session_id, invocations.c.attachments):
        if not names.keys().isdisjoint(row.attachments):
            called = [names.get(name, name) for name in row.attachments]
            await connection.execute(
                sa.update(invocations)
                .where(invocations.c.session_id == bringing.target, invocations.c.id == row.called)
                .values(attachments=called)
            )
