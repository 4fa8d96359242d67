"""Collections that no session has: not yet, or no more. Each has a row, so that a crash leaves
none that nobody knows.

A name goes from its row here to its session's row, or the other way, in one transaction. Rows that
name a job are that job's own; the others are residency's.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import QuireError
from quire.store.columns import EPOCH, now
from quire.store.database import Database
from quire.store.tables import spare_collections
from quire.store.upsert import insert_into
from quire.vectors.port import VectorEngine

log = structlog.get_logger(__name__)

CONDEMNED = EPOCH
"""`until` of one that is being dropped: from then on no session can have it."""

MOST_AT_ONCE = 1_000


class SpareCollections:
    """Writes down collections without a session, and drops them when their time has come."""

    def __init__(self, database: Database, engine: VectorEngine) -> None:
        self._database = database
        self._engine = engine

    async def reserve(
        self,
        connection: AsyncConnection,
        name: str,
        *,
        session_id: str | None,
        until: datetime,
        job_id: str | None = None,
    ) -> None:
        """Before the collection is made, or in the transaction that takes it from its session.

        It may be repeated: a job's step is.
        """
        values = {"name": name, "session_id": session_id, "job_id": job_id, "until": until}
        await connection.execute(
            insert_into(self._database, spare_collections)
            .values(values)
            .on_conflict_do_update(index_elements=[spare_collections.c.name], set_=values)
        )

    async def adopt(self, connection: AsyncConnection, name: str) -> bool:
        """In the transaction that gives it to a session; False where it is being dropped."""
        adopted = await connection.execute(
            sa.delete(spare_collections).where(
                spare_collections.c.name == name, spare_collections.c.until > CONDEMNED
            )
        )
        return adopted.rowcount == 1

    async def drop(self, name: str) -> None:
        """Drop the collection now, unless a session has it by now."""
        async with self._database.write() as connection:
            condemned = await connection.execute(
                sa.update(spare_collections)
                .where(spare_collections.c.name == name)
                .values(until=CONDEMNED)
            )
        if condemned.rowcount != 1:
            return
        await self._engine.drop(name)
        async with self._database.write() as connection:
            await connection.execute(
                sa.delete(spare_collections).where(spare_collections.c.name == name)
            )

    async def drop_overdue(self, at: datetime | None = None) -> list[str]:
        """Drop those whose time has come; answers their names."""
        overdue = spare_collections.c.until <= (now() if at is None else at)
        return await self._drop_all(overdue)

    async def drop_abandoned(self) -> list[str]:
        """At the start of the only process there is: nobody is filling residency's any more."""
        return await self._drop_all(spare_collections.c.job_id.is_(None))

    async def names(self) -> set[str]:
        """Of all there are."""
        async with self._database.read() as connection:
            return set((await connection.execute(sa.select(spare_collections.c.name))).scalars())

    async def _drop_all(self, condition: sa.ColumnElement[bool]) -> list[str]:
        query = sa.select(spare_collections.c.name).where(condition).limit(MOST_AT_ONCE)
        async with self._database.read() as connection:
            names = list((await connection.execute(query)).scalars())
        dropped = []
        for name in names:
            try:
                await self.drop(name)
            except QuireError as error:  # the next sweep tries again
                log.warning("spare collection not dropped", collection=name, error=error.message)
            else:
                dropped.append(name)
        return dropped
