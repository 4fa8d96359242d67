"""Sessions in which clusters were planted, to be found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from quire.clustering.requests import ClusterRequest
from quire.jobs.port import JobStatus
from tests.sessions.house import ADA, create

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.app import Quire
    from quire.jobs.port import Job
    from quire.sessions.models import Session
    from quire.vectors.port import Record

DIMENSION = 24
SUBJECTS = (
    "the invoice says payment of tax is due",
    "the wren and the toad sing in the garden",
    "the engine drops oil on the road again",
)
SIZES = (60, 45, 30)
STRAYS = 6
"""Points that are far from every cluster, and from each other."""


def centre(subject: int) -> np.ndarray[Any, Any]:
    vector = np.zeros(DIMENSION)
    vector[subject] = 1.0
    return vector


def planted(subject: int, count: int, *, first_id: int, seed: int = 0) -> list[dict[str, Any]]:
    """Points near the subject's centre, and texts about it."""
    chance = np.random.default_rng([seed, subject])
    return [
        {
            "id": first_id + n,
            "vector": (centre(subject) + chance.normal(0, 0.05, DIMENSION)).tolist(),
            "payload": {"text": f"{SUBJECTS[subject]}, number {n}", "subject": subject},
        }
        for n in range(count)
    ]


def strays(*, first_id: int = 900) -> list[dict[str, Any]]:
    return [
        {
            "id": first_id + n,
            "vector": (-np.eye(DIMENSION)[10 + n]).tolist(),
            "payload": {"text": "the odd one", "subject": -1},
        }
        for n in range(STRAYS)
    ]


async def with_clusters(quire: Quire, **fields: Any) -> Session:
    """A session of three planted clusters, some strays, and a point without a vector."""
    session = await create(quire, **{"dimension": DIMENSION, **fields})
    points = strays()
    for subject, size in enumerate(SIZES):
        points += planted(subject, size, first_id=100 * subject)
    await quire.points.upsert(ADA, session.id, points)
    return session


async def clustered(quire: Quire, session: Session, **asked: Any) -> Job:
    """Cluster, and wait until that is done."""
    return await ended(
        quire, await quire.clustering.begin(ADA, session.id, ClusterRequest(**asked))
    )


async def ended(quire: Quire, job_id: str, status: JobStatus = JobStatus.SUCCEEDED) -> Job:
    job = await quire.jobs.wait(job_id, 60)
    assert job.status is status, job
    return job


async def records(quire: Quire, session: Session) -> Sequence[Record]:
    return (await quire.points.scroll(ADA, session.id, limit=1_000)).records


def labels_of(found: Sequence[Record], subject: int) -> set[Any]:
    """The labels of what was planted together."""
    return {r.payload.get("cluster") for r in found if r.payload["subject"] == subject}
