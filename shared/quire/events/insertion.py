"""Writing events: almost every change of a session does, so each database has its quickest way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.store.columns import Moment

Row = Mapping[str, Any]
"""The `session_id`, `kind` and `data` of an event."""

# One round trip. The locks are had before the first row gets its seq, for that is drawn from the
# sequence as the row comes out of the join with them.
POSTGRES = sa.text(
    """
    WITH locked AS MATERIALIZED (
        SELECT count(pg_advisory_xact_lock(hashtextextended('events:' || id, 0))) AS sessions
        FROM unnest(CAST(:session_ids AS text[])) AS id
    ), told AS (
        INSERT INTO events (session_id, kind, data, created_at)
        SELECT happened.session_id, happened.kind, happened.data, :at
        FROM locked, jsonb_to_recordset(CAST(:happened AS jsonb))
            AS happened(session_id text, kind text, data jsonb)
        WHERE locked.sessions > 0
        RETURNING session_id
    )
    SELECT pg_notify(:channel, session_id) FROM (SELECT DISTINCT session_id FROM told) AS sessions
    """
).bindparams(sa.bindparam("at", type_=Moment))

SQLITE = "INSERT INTO events (session_id, kind, data, created_at) VALUES (?, ?, ?, ?)"


async def insert_locked(
    connection: AsyncConnection, channel: str, rows: Sequence[Row], at: datetime
) -> None:
    """Write them in the order of their commits, and say so on the channel; on PostgreSQL.

    Without the locks a lower seq could be committed after a higher one, and be missed by who has
    read that. Everyone takes them in the same order.
    """
    await connection.execute(
        POSTGRES,
        {
            "session_ids": sorted({row["session_id"] for row in rows}),
            "happened": orjson.dumps(rows).decode(),
            "at": at,
            "channel": channel,
        },
    )


async def insert_plainly(connection: AsyncConnection, rows: Sequence[Row], at: datetime) -> None:
    """Write them where nobody else writes meanwhile; on SQLite."""
    moment = Moment().process_bind_param(at, connection.dialect)
    values = [
        (row["session_id"], row["kind"], orjson.dumps(row["data"]).decode(), moment) for row in rows
    ]
    # Past SQLAlchemy, whose adapter changes threads three times for what this does in two.
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with driver.executemany(SQLITE, values):
        pass
