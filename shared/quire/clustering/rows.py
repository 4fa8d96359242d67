"""Where it is kept how a session was clustered last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.blobs.ledger import BlobLedger
from quire.clustering.requests import ClusterRequest
from quire.sessions.identity import identity_of
from quire.sessions.models import Session
from quire.store.database import Database
from quire.store.tables import clusterings
from quire.store.upsert import insert_into


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster: what it is called and why, and what its points are like on average."""

    label: int
    name: str
    terms: Sequence[str]
    size: int
    probability: float
    spread: float
    """The mean distance from the centre."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """A session's last clustering; its model is a blob."""

    session_id: str
    job_id: str
    """The job that found the clusters; it is in the name of who holds the blob."""
    request: ClusterRequest
    clusters: Sequence[Cluster]
    model_sha256: str
    points_count: int
    """Points that had a label when the last job was done."""
    embedding: Mapping[str, Any]
    created_at: datetime

    def is_of(self, session: Session) -> bool:
        """Whether the session's vectors are still such as the clusters were found in."""
        return self.embedding == embedding_told(session)


class ClusteringRows:
    """Reads and writes rows; the blob of one is held for as long as it is there."""

    def __init__(self, database: Database, ledger: BlobLedger) -> None:
        self._database = database
        self._ledger = ledger

    async def get(self, session_id: str) -> Clustering | None:
        async with self._database.read() as connection:
            return await self._select(connection, session_id)

    async def hold(
        self, connection: AsyncConnection, session_id: str, job_id: str, sha256: str
    ) -> None:
        """Keep the model of a job that is not concluded yet."""
        await self._ledger.refer(connection, session_id, _holder(job_id), sha256)

    async def let_go(self, connection: AsyncConnection, session_id: str, job_id: str) -> None:
        """The model of a job that came to nothing."""
        await self._ledger.release(connection, session_id, _holder(job_id))

    async def put(self, connection: AsyncConnection, row: Clustering) -> None:
        """Write it in the place of what was there; `hold` came before."""
        old = await self._select(connection, row.session_id)
        if old is not None and old.job_id != row.job_id:
            await self.let_go(connection, row.session_id, old.job_id)
        values = {
            "job_id": row.job_id,
            "algorithm": row.request.algorithm.value,
            "parameters": row.request.as_json(),
            "clusters": [asdict(cluster) for cluster in row.clusters],
            "model_sha256": row.model_sha256,
            "points_count": row.points_count,
            "embedding": dict(row.embedding),
            "created_at": row.created_at,
        }
        await connection.execute(
            insert_into(self._database, clusterings)
            .values(session_id=row.session_id, **values)
            .on_conflict_do_update(index_elements=[clusterings.c.session_id], set_=values)
        )

    async def remove(self, connection: AsyncConnection, session_id: str) -> None:
        old = await self._select(connection, session_id)
        if old is not None:
            await self.let_go(connection, session_id, old.job_id)
        await connection.execute(
            sa.delete(clusterings).where(clusterings.c.session_id == session_id)
        )

    async def _select(self, connection: AsyncConnection, session_id: str) -> Clustering | None:
        query = sa.select(clusterings).where(clusterings.c.session_id == session_id)
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        return Clustering(
            session_id=row.session_id,
            job_id=row.job_id,
            request=ClusterRequest.from_json(row.parameters),
            clusters=[Cluster(**told) for told in row.clusters],
            model_sha256=row.model_sha256,
            points_count=row.points_count,
            embedding=row.embedding,
            created_at=row.created_at,
        )


def embedding_told(session: Session) -> dict[str, Any]:
    """What must stay the same for a model to be of use."""
    embedding = session.embedding
    return {**asdict(identity_of(embedding)), "distance": embedding.distance}


def _holder(job_id: str) -> str:
    return f"clustering/{job_id}"
