"""Forking: two sessions that have the same, and go their own ways from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire.sessions.lifecycle import State
from quire.transfer.targets import NewTarget
from tests.content.house import chunks, remove, text_of
from tests.sessions.house import purged
from tests.transfer.house import (
    ADA,
    create,
    current,
    failed,
    filled_quire,
    finished,
    hashes,
    ingest,
    paragraphs,
    text,
    traces,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

    from quire.app import Quire


async def forked(quire: Quire, session_id: str) -> str:
    job_id, fork_id = await quire.transfers.fork.begin(ADA, session_id, NewTarget(name="fork"))
    job = await finished(quire, job_id)
    assert job.result is not None
    assert (job.result["session_id"], job.result["path"]) == (fork_id, "clone")
    return fork_id


async def test_a_fork_has_everything_and_goes_its_own_way(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire, ttl_seconds=1000)
        sources = [text(paragraphs(9, name), id=name) for name in ("a", "b")]
        await ingest(quire, session.id, *sources, chunk_size=60)
        await write(quire, session.id, range(20), cluster=lambda n: n % 3)
        await quire.points.facets(ADA, session.id, "cluster", None)  # makes an index
        before = await hashes(quire, session.id)
        # when
        fork_id = await forked(quire, session.id)
        # then
        fork = await current(quire, fork_id)
        assert await hashes(quire, fork_id) == before
        assert await chunks(quire, fork_id) == await chunks(quire, session.id)
        assert await text_of(quire, fork_id, "a") == paragraphs(9, "a")
        assert (fork.points_count, fork.chunks_count, fork.next_seq) == (38, 18, 18)
        assert (fork.state, fork.ttl_seconds, fork.version > 0) == (State.ACTIVE, None, True)
        assert fork.lineage == {"forked_from": session.id}
        indexes = [(await quire.engine.info(one.collection)).indexes for one in (session, fork)]
        assert indexes[0] == indexes[1]
        # what happens to one is nothing to the other
        await remove(quire, session.id, "a")
        await write(quire, fork_id, [100])
        assert await text_of(quire, fork_id, "a") == paragraphs(9, "a")
        assert len(await hashes(quire, fork_id)) == 39
        await purged(quire, ADA, session.id)
        assert await text_of(quire, fork_id, "b") == paragraphs(9, "b")
        await ingest(quire, fork_id, text("anew", id="a"))
        assert await text_of(quire, fork_id, "a") == "anew"


async def test_a_fork_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text(paragraphs(9), id="a"), chunk_size=60)
        before = await traces(quire)

        async def miscounted(*_: object, **__: object) -> int:
            return 7

        job_id, _ = await quire.transfers.fork.begin(ADA, session.id, NewTarget(name="fork"))
        monkeypatch.setattr(quire.engine, "count", miscounted)
        monkeypatch.setattr("quire.transfer.fork.Fork._conclude", None)
        await failed(quire, job_id)
        monkeypatch.undo()
        assert await traces(quire) == before


async def test_a_cold_session_is_woken_to_be_forked(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await write(quire, session.id, range(20))
        before = await hashes(quire, session.id)
        await quire.sessions.sleep(ADA, session.id, pack=True)
        fork_id = await forked(quire, session.id)
        assert await hashes(quire, fork_id) == before


async def test_a_session_that_a_job_makes_is_not_taken_for_one_that_was_cut_off(
    tmp_path: Path,
) -> None:
    """Building takes its time; it is the job that ends it, whatever the sweeps think of it."""
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        job_id, fork_id = await quire.transfers.fork.begin(ADA, session.id, NewTarget(name="f"))
        await quire.retention.purge_cut_off()
        await finished(quire, job_id)
        assert (await current(quire, fork_id)).state is State.ACTIVE
