"""Whoever follows a session hears of everything once, in order, for as long as they may."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from quire.access.policy import Role
from quire.content.sources import IngestOptions, Source
from quire.errors import Expired, Forbidden, SessionNotFound, Unavailable
from quire.events.log import EventKind, NewEvent, append_events, forget_events
from quire.events.subscription import FellBehind
from quire.jobs.port import JobContext, JobKind, JobRequest
from quire.sessions.requests import NewSession, SessionChange
from quire.settings import EventSettings
from quire.store.columns import now
from quire.store.tables import events
from tests.events.following import listening, tell
from tests.sessions.house import ADA, GRACE, create, let_pass, new_id, quire_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire

QUEUE = 8
BEAT_SECONDS = 0.1


@pytest.fixture
async def quire(tmp_path: Path) -> AsyncIterator[Quire]:
    live = EventSettings(queue=QUEUE, subscribers=3, heartbeat_seconds=BEAT_SECONDS)
    async with quire_in(tmp_path, events=live) as opened:
        yield opened


async def test_what_was_comes_before_what_is_and_nothing_is_missed_between(quire: Quire) -> None:
    session = await create(quire)
    await tell(quire.database, session.id, *range(300))
    # given a session at which things go on happening
    busy = asyncio.create_task(_tell_on(quire, session.id, 300, 400))
    # when it is followed from the beginning
    async with listening(quire, ADA, session.id, after=0) as listener:
        await busy
        await listener.until(lambda it: len(it.numbers) >= 400)
    # then each came once, in order, and with rising ids
    assert listener.kinds[0] == "session.created"
    assert listener.numbers == list(range(400))
    assert sorted({event.seq for event in listener.heard}) == [e.seq for e in listener.heard]
    # and who comes back hears the rest
    middle = listener.heard[200]
    async with listening(quire, ADA, session.id, after=middle.seq) as again:
        await again.until(lambda it: it.numbers and it.numbers[-1] == 399)
        assert again.numbers == list(range(middle.data["n"] + 1, 400))
        assert not again.has_gap


async def _tell_on(quire: Quire, session_id: str, start: int, end: int) -> None:
    for number in range(start, end):
        await tell(quire.database, session_id, number)


async def test_without_a_place_to_begin_only_what_comes_is_heard(quire: Quire) -> None:
    session, other = await create(quire), await create(quire)
    await tell(quire.database, session.id, 1)
    kinds = [EventKind.DATA_CHANGED]
    async with listening(quire, ADA, session.id, kinds=kinds) as listener:
        await quire.sessions.update(ADA, session.id, SessionChange(name="other"))
        await tell(quire.database, other.id, 7)
        await tell(quire.database, session.id, 2)
        await listener.until(lambda it: it.heard)
        # of this session, from now on, of the kinds that were asked for
        assert listener.numbers == [2]
        assert listener.kinds == ["data.changed"]


async def test_what_is_rolled_back_is_never_heard(quire: Quire) -> None:
    session = await create(quire)
    async with listening(quire, ADA, session.id) as listener:
        with pytest.raises(RuntimeError, match="after all"):
            await _tell_in_vain(quire, session.id)
        await tell(quire.database, session.id, 2)
        await listener.until(lambda it: it.heard)
        assert listener.numbers == [2]


async def _tell_in_vain(quire: Quire, session_id: str) -> None:
    async with quire.database.write() as connection:
        happened = [NewEvent(session_id, EventKind.DATA_CHANGED, {"n": 1})]
        await append_events(connection, happened)
        raise RuntimeError("not, after all")


async def test_changes_of_the_session_are_told(quire: Quire) -> None:
    session = await create(quire)
    async with listening(quire, ADA, session.id) as listener:
        await quire.sessions.update(ADA, session.id, SessionChange(name="other"))
        shared = await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
        await listener.until(lambda it: "session.shared" in it.kinds)
        assert listener.kinds == ["session.changed", "session.changed", "session.shared"]
        changed, _, told = listener.heard
        assert changed.data["status"] == "active"
        assert told.data["shared_with"] == ["grace"]
        assert told.data["version"] == shared.version


async def test_documents_and_their_job_are_told(quire: Quire) -> None:
    session = await create(quire)
    async with listening(quire, ADA, session.id) as listener:
        sources = [
            Source(content=b"Rain in the hills.", id="good"),
            Source(content=b"%PDF-1.7 broken", content_type="application/pdf", id="bad"),
        ]
        admitted = await quire.admission.admit(ADA, session.id, sources, IngestOptions())
        assert admitted.job_id is not None
        await quire.jobs.wait(admitted.job_id, 30)
        await listener.until(lambda it: _statuses(it)[-1:] == ["succeeded"])
        statuses = _statuses(listener)
        assert statuses[:2] == ["queued", "running"]
        ready, failed = (
            next(event.data for event in listener.heard if event.kind == kind)
            for kind in ("document.ready", "document.failed")
        )
        assert (ready["document_id"], ready["chunks_count"]) == ("good", 1)
        assert (failed["document_id"], failed["error"]["code"]) == ("bad", "extraction_failed")
        assert ready["job_id"] == admitted.job_id


def _statuses(listener: object) -> list[str]:
    heard = listener.heard  # type: ignore[attr-defined]
    return [event.data["status"] for event in heard if event.kind == "job.progress"]


async def test_a_jobs_progress_is_told_at_every_session_but_not_at_every_step(
    tmp_path: Path,
) -> None:
    async def work(context: JobContext) -> None:
        for done in range(150):
            await context.progress(done, 150, "steps")
            await asyncio.sleep(0.01)

    async with quire_in(tmp_path) as quire:
        quire.jobs._kinds["steps"] = JobKind("steps", work)  # as if registered before the start
        held, shown = await create(quire), await create(quire)
        async with (
            listening(quire, ADA, held.id) as at_held,
            listening(quire, ADA, shown.id) as at_shown,
        ):
            async with quire.database.write() as connection:
                request = JobRequest("steps", sessions=[held.id], shown_at=shown.id)
                job_id = await quire.jobs.submit(connection, request)
            await quire.jobs.wait(job_id, 30)
            for listener in (at_held, at_shown):
                await listener.until(lambda it: _statuses(it)[-1:] == ["succeeded"])
                # queued, begun, two reports in one and a half seconds, done
                assert 4 <= len(listener.heard) <= 6
                last = listener.heard[-1].data
                assert (last["job_id"], last["job_kind"]) == (job_id, "steps")
                assert last["progress"]["done"] == 149


async def test_who_takes_nothing_is_dropped_and_its_place_is_free(quire: Quire) -> None:
    session = await create(quire)
    # given one who listens, and takes the first event only
    following = await quire.events.follow(ADA, session.id)
    stream = following.events()
    first = asyncio.ensure_future(anext(stream))
    async with listening(quire, ADA, session.id) as quick:
        await tell(quire.database, session.id, 0)
        event = await first
        assert event is not None
        # when far more happens than it may be behind
        for number in range(1, 5 * QUEUE):
            await tell(quire.database, session.id, number)
        await quick.until(lambda it: len(it.numbers) == 5 * QUEUE)
        # then nothing is kept for it, its place is free, and the other missed nothing
        assert not following._subscription._waiting
        assert quire.hub.subscribers == 1
        assert quick.numbers == list(range(5 * QUEUE))
        with pytest.raises(FellBehind):
            await anext(stream)
    following.close()
    # and it finds the rest where it had been
    async with listening(quire, ADA, session.id, after=event.seq) as again:
        await again.until(lambda it: len(it.numbers) == 5 * QUEUE - 1)


async def test_one_large_transaction_drops_nobody_who_keeps_up(quire: Quire) -> None:
    session = await create(quire)
    async with listening(quire, ADA, session.id) as listener:
        await tell(quire.database, session.id, *range(50 * QUEUE))
        await listener.until(lambda it: len(it.numbers) == 50 * QUEUE)
        assert listener.error is None


async def test_places_are_bounded_and_given_back(quire: Quire) -> None:
    session = await create(quire)
    taken = [await quire.events.follow(ADA, session.id) for _ in range(3)]
    with pytest.raises(Unavailable, match="3 event streams are open") as busy:
        await quire.events.follow(ADA, session.id)
    assert busy.value.retry_after
    taken.pop().close()
    taken.append(await quire.events.follow(ADA, session.id))
    for following in taken:
        following.close()
    assert quire.hub.subscribers == 0


async def test_silence_is_broken_by_heartbeats_and_counts_as_no_use(quire: Quire) -> None:
    session = await create(quire, ttl_seconds=3600)
    await let_pass(quire, timedelta(minutes=30), session.id)
    before = await quire.repository.latest(session.id)
    async with listening(quire, ADA, session.id) as listener:
        await listener.until(lambda it: it.beats >= 2)
    assert await quire.repository.latest(session.id) == before


async def test_a_cold_session_is_followed_without_waking(quire: Quire) -> None:
    session = await create(quire)
    await quire.sessions.sleep(ADA, session.id)
    async with listening(quire, ADA, session.id, after=0) as listener:
        await listener.until(lambda it: it.heard)
        await tell(quire.database, session.id, 1)
        await listener.until(lambda it: it.numbers)
    latest = await quire.repository.latest(session.id)
    assert latest is not None
    assert latest.residency == "cold"


async def test_who_may_not_read_it_any_more_hears_nothing_more(quire: Quire) -> None:
    session = await create(quire)
    await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
    async with listening(quire, GRACE, session.id) as listener:
        await tell(quire.database, session.id, 1)
        await listener.until(lambda it: it.numbers)
        await quire.sharing.unshare(ADA, session.id, "grace")
        await tell(quire.database, session.id, 2)
        await listener.until(lambda it: it.is_over)
        assert isinstance(listener.error, SessionNotFound | Forbidden)
        assert listener.numbers == [1]
        assert "session.shared" not in listener.kinds
    with pytest.raises(SessionNotFound):
        await quire.events.follow(GRACE, session.id)


async def test_a_session_that_goes_ends_its_streams(quire: Quire) -> None:
    deleted, expiring, timely = [await create(quire, ttl_seconds=3600) for _ in range(3)]
    async with (
        listening(quire, ADA, deleted.id, kinds=[EventKind.MESSAGE_ADDED]) as of_deleted,
        listening(quire, ADA, expiring.id) as of_expiring,
        listening(quire, ADA, timely.id) as of_timely,
    ):
        await quire.sessions.delete_for_good(ADA, deleted.id)
        await of_deleted.until(lambda it: it.is_over)
        # that it goes is told whatever was asked for
        assert of_deleted.kinds == ["session.deleted"]
        assert isinstance(of_deleted.error, SessionNotFound)
        # expired, though no sweep has come to it
        await let_pass(quire, timedelta(hours=2), timely.id)
        await of_timely.until(lambda it: it.is_over)
        assert isinstance(of_timely.error, Expired)
    async with listening(quire, ADA, expiring.id) as of_expiring:
        await let_pass(quire, timedelta(hours=2), expiring.id)
        await quire.retention.sweep(await quire.policies.get())
        await of_expiring.until(lambda it: it.is_over)
        assert isinstance(of_expiring.error, Expired)


async def test_an_id_that_is_taken_again_shows_nothing_of_its_former_bearer(quire: Quire) -> None:
    name = new_id()
    await quire.creation.create(ADA, NewSession(id=name, name="first"))
    await tell(quire.database, name, 1)
    job_id = await quire.sessions.delete_for_good(ADA, name)
    await quire.jobs.wait(job_id, 30)
    await quire.creation.create(GRACE, NewSession(id=name, name="second"))
    async with listening(quire, GRACE, name, after=0) as listener:
        await tell(quire.database, name, 2)
        await listener.until(lambda it: it.numbers)
        assert listener.numbers == [2]
        assert listener.kinds[0] == "session.created"


async def test_what_is_forgotten_is_a_gap(quire: Quire) -> None:
    session = await create(quire)
    await tell(quire.database, session.id, 1, 2)
    async with quire.database.read() as connection:
        last = await connection.scalar(sa.select(sa.func.max(events.c.seq)))
    assert await forget_events(quire.database, now()) > 0
    await tell(quire.database, session.id, 3)
    for after, has_gap in ((last, True), (last + 1, False), (10**9, True), (0, False)):
        async with listening(quire, ADA, session.id, after=after) as listener:
            assert listener.has_gap is has_gap, after
            if after < last + 1:
                await listener.until(lambda it: it.numbers == [3])


async def test_streams_end_when_the_process_stops(quire: Quire) -> None:
    session = await create(quire)
    async with listening(quire, ADA, session.id) as listener:
        quire.hub.end_streams()
        await listener.until(lambda it: it.is_over)
        assert listener.error is None
    with pytest.raises(Unavailable):
        await quire.events.follow(ADA, session.id)
