"""The engine is killed and comes back in the midst of transfers: they end as if it had not."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from quire.jobs.port import JobStatus
from quire.settings import QdrantSettings
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import ByField, SplitRequest
from quire.transfer.targets import NewTarget
from tests.content.house import FAKE
from tests.sessions.house import collections, finish_purges, quire_in
from tests.transfer.house import ADA, create, hashes, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire
    from tests.backends.qdrant import QdrantProcess

pytestmark = pytest.mark.server

POINTS = 1500
KILLS = 3
SOAK_KILLS = 330


@pytest.fixture
async def quire(tmp_path: Path, qdrant_process: QdrantProcess) -> AsyncIterator[Quire]:
    qdrant = QdrantSettings(url=qdrant_process.url, grpc_port=qdrant_process.grpc_port)
    async with quire_in(tmp_path, qdrant=qdrant, embedding=FAKE) as opened:
        yield opened


async def filled(quire: Quire, ids: range) -> str:
    session = await create(quire)
    await write(quire, session.id, ids, half=lambda n: n % 2)
    return session.id


async def restart(process: QdrantProcess, after: float) -> None:
    await asyncio.sleep(after)
    await asyncio.to_thread(process.kill)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(process.start)


async def kill_in_mid_transfer(quire: Quire, process: QdrantProcess, kills: int) -> None:
    chance = random.Random(7)
    sources = [
        await filled(quire, range(POINTS)),
        await filled(quire, range(POINTS, 2 * POINTS)),
    ]
    first, both = await hashes(quire, sources[0]), await hashes(quire, *sources)
    kept = await collections(quire)
    usual = {"merge": 1.0, "split": 1.0, "fork": 0.5}
    for number in range(kills):
        kind = ("merge", "split", "fork")[number % 3]
        # Some rounds run in peace, and tell how long the next ones may take.
        in_peace = number >= 3 and number % 10 < 3
        begun = time.monotonic()
        if kind == "merge":
            request = MergeRequest(
                source_session_ids=sources, target_name="merged", archive_sources=False
            )
            job_id = await quire.transfers.merge.begin(ADA, request)
        elif kind == "split":
            split = SplitRequest(by=ByField(field="half"), remove_points=False)
            job_id = await quire.transfers.split.begin(ADA, sources[0], split)
        else:
            job_id, _ = await quire.transfers.fork.begin(ADA, sources[0], NewTarget(name="fork"))
        if not in_peace:
            await restart(process, chance.uniform(0, usual[kind]))
        job = await quire.jobs.wait(job_id, 100)
        if in_peace:
            usual[kind] = time.monotonic() - begun
        assert job.status is JobStatus.SUCCEEDED, (kind, job.error)
        assert job.result is not None
        made = job.result["new_session_ids"] if kind == "split" else [job.session_id]
        assert await hashes(quire, *made) == (both if kind == "merge" else first)
        assert await hashes(quire, *sources) == both
        for session_id in made:
            await quire.sessions.delete_for_good(ADA, session_id)
        await finish_purges(quire)
        await quire.residency.sweep()
        assert await collections(quire) == kept


@pytest.mark.timeout(300)
async def test_a_transfer_outlives_its_engine(quire: Quire, qdrant_process: QdrantProcess) -> None:
    await kill_in_mid_transfer(quire, qdrant_process, KILLS)


@pytest.mark.soak
async def test_transfers_outlive_their_engine_for_long(
    quire: Quire, qdrant_process: QdrantProcess
) -> None:
    await kill_in_mid_transfer(quire, qdrant_process, SOAK_KILLS)
