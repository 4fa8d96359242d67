"""What every store of jobs must do: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from quire.errors import Conflict, InvalidInput, JobNotFound, NotFound, Unavailable
from quire.jobs import run as run_module
from quire.jobs.durable import DurableJobs
from quire.jobs.failures import JobFailed
from quire.jobs.port import JobContext, JobFilter, JobKind, JobRequest, JobStatus, Progress
from quire.store.tables import job_sessions, jobs
from tests.jobs.workshop import NOTHING, QUICK, Workshop, answer_nothing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def workshop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workshop]:
    sqlite = request.param == "sqlite"
    opened = await Workshop.open(
        tmp_path / "quire.db" if sqlite else request.getfixturevalue("postgres_url")
    )
    yield opened
    await opened.database.close()


class Diary:
    """What handlers did, and the gates they wait at."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.at_gate = asyncio.Event()
        self.gate = asyncio.Event()

    async def note(self, line: str) -> str:
        self.lines.append(line)
        return line

    async def stand_at_gate(self, line: str) -> str:
        self.at_gate.set()
        await self.gate.wait()
        return await self.note(line)


@pytest.fixture
def diary() -> Diary:
    return Diary()


async def until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.02)


# Submitting


async def test_a_job_runs_and_answers(workshop: Workshop) -> None:
    async def double(context: JobContext) -> dict[str, Any]:
        assert (list(context.sessions), context.job_id) == (["s"], job_id)
        return {"doubled": context.parameters["number"] * 2}

    async with workshop.running(JobKind("double", double)):
        job_id = await workshop.submit("double", "s", number=21)
        [job] = await workshop.done(job_id)

    assert (job.status, job.result, job.error) == (JobStatus.SUCCEEDED, {"doubled": 42}, None)
    assert (job.kind, job.session_id) == ("double", "s")
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.created_at <= job.started_at <= job.finished_at


async def test_a_rolled_back_transaction_leaves_no_job(workshop: Workshop) -> None:
    async with workshop.running(NOTHING) as running:
        job_id = str(uuid4())

        async def submit_and_fail() -> None:
            async with workshop.database.write() as connection:
                await running.submit(connection, JobRequest("nothing", ["s"], id=job_id))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await submit_and_fail()
        after = await workshop.submit("nothing", "s")
        await workshop.done(after)

        with pytest.raises(JobNotFound):
            await running.get(job_id)
        assert [job.id for job in await running.find(JobFilter())] == [after]


async def test_an_id_is_used_once(workshop: Workshop) -> None:
    async with workshop.running(NOTHING) as running:
        request = JobRequest("nothing", id=str(uuid4()))
        async with workshop.database.write() as connection:
            assert await running.submit(connection, request) == request.id
        with pytest.raises(Conflict):
            async with workshop.database.write() as connection:
                await running.submit(connection, request)
        await workshop.done(request.id or "")


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 1, tzinfo=UTC), {1, 2}, b"raw", math.nan, "\0", "\ud800", 2**70]
)
async def test_parameters_are_json_only(workshop: Workshop, value: object) -> None:
    async with workshop.running(NOTHING, run=False) as running:
        with pytest.raises(InvalidInput):
            await workshop.submit("nothing", "s", value=value)
        assert await running.find(JobFilter()) == []


async def test_only_known_kinds_are_taken(workshop: Workshop) -> None:
    async with workshop.running(NOTHING, run=False):
        with pytest.raises(InvalidInput, match="nothing"):
            await workshop.submit("something")


# Order and exclusion


async def test_one_at_a_time_on_a_session_in_the_order_of_submission(workshop: Workshop) -> None:
    seen: list[int] = []
    inside = 0

    async def look(context: JobContext) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0.01)
        seen.append(context.parameters["number"])
        inside -= 1

    async with workshop.running(JobKind("look", look)):
        found = await workshop.done(
            *[await workshop.submit("look", "s", number=n) for n in range(8)]
        )

    assert seen == list(range(8))
    assert {job.status for job in found} == {JobStatus.SUCCEEDED}


async def test_different_sessions_run_at_the_same_time(workshop: Workshop) -> None:
    meeting = asyncio.Barrier(3)

    async def meet(context: JobContext) -> None:
        await asyncio.wait_for(meeting.wait(), 10)

    async with workshop.running(JobKind("meet", meet)):
        found = await workshop.done(*[await workshop.submit("meet", f"s{n}") for n in range(3)])

    assert {job.status for job in found} == {JobStatus.SUCCEEDED}


async def test_jobs_on_two_sessions_wait_for_both_and_never_deadlock(workshop: Workshop) -> None:
    busy: set[str] = set()

    async def use(context: JobContext) -> None:
        assert not busy & set(context.sessions)
        busy.update(context.sessions)
        await asyncio.sleep(0.005)
        busy.difference_update(context.sessions)

    async with workshop.running(JobKind("use", use)):
        pairs = [("a", "b"), ("b", "a"), ("a",), ("b", "c"), ("c", "a"), ("c",)] * 4
        job_ids = await asyncio.gather(*(workshop.submit("use", *pair) for pair in pairs))
        found = await workshop.done(*job_ids, seconds=60)

    assert {job.status for job in found} == {JobStatus.SUCCEEDED}


async def test_the_first_session_is_where_the_job_is_shown(workshop: Workshop) -> None:
    seen: list[list[str]] = []

    async def look(context: JobContext) -> None:
        seen.append(list(context.sessions))

    async with workshop.running(JobKind("look", look)) as running:
        job_id = await workshop.submit("look", "z", "a", "z", "m")
        await workshop.done(job_id)
        assert [job.id for job in await running.find(JobFilter(session_id="z"))] == [job_id]

    assert seen == [["z", "a", "m"]]


async def test_two_predecessors_that_end_at_once_release_what_waits_for_both(
    workshop: Workshop,
) -> None:
    meeting = asyncio.Barrier(2)

    async def meet(context: JobContext) -> None:
        await asyncio.wait_for(meeting.wait(), 10)

    # No reaper comes to the rescue within this test.
    jobs_port = DurableJobs(workshop.database, QUICK.model_copy(update={"lease_seconds": 300.0}))
    workshop.jobs = jobs_port
    jobs_port.register(JobKind("meet", meet))
    jobs_port.register(NOTHING)
    await jobs_port.start(run=True)
    try:
        for turn in range(10):
            one, other = f"{turn} one", f"{turn} other"
            first = [await workshop.submit("meet", one), await workshop.submit("meet", other)]
            third = await workshop.submit("nothing", one, other)
            await workshop.done(*first, third)
    finally:
        await jobs_port.stop(grace_seconds=1)


# Steps


async def test_a_step_answers_the_same_in_the_first_run_and_on_replay(
    workshop: Workshop, diary: Diary
) -> None:
    answers: list[Any] = []

    async def compute() -> Any:
        await diary.note("computed")
        return {"pair": (1, 2), "none": None}

    async def work(context: JobContext) -> dict[str, Any]:
        answers.append(await context.step("compute", compute))
        await context.step("gate", diary.stand_at_gate, "passed")
        return {"answer": answers[-1]}

    kind = JobKind("work", work)
    async with workshop.running(kind, grace=0):
        job_id = await workshop.submit("work", "s")
        await diary.at_gate.wait()
    parked = await workshop.jobs.get(job_id)
    diary.gate.set()
    async with workshop.running(kind):
        [job] = await workshop.done(job_id)

    assert parked.status is JobStatus.RUNNING
    assert job.status is JobStatus.SUCCEEDED
    assert answers == [{"pair": [1, 2], "none": None}] * 2
    assert diary.lines == ["computed", "passed"]


async def test_a_step_that_is_not_answered_is_tried_again(workshop: Workshop) -> None:
    tries = 0

    async def reach() -> int:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise Unavailable("The engine does not answer")
        return tries

    async def work(context: JobContext) -> dict[str, int]:
        return {"tries": await context.step("reach", reach)}

    async with workshop.running(JobKind("work", work)):
        [job] = await workshop.done(await workshop.submit("work"))

    assert (job.status, job.result) == (JobStatus.SUCCEEDED, {"tries": 4})


async def test_patience_ends(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "PATIENCE_SECONDS", 0.3)

    async def reach() -> None:
        raise Unavailable("The engine does not answer")

    async def work(context: JobContext) -> None:
        await context.step("reach", reach)

    async with workshop.running(JobKind("work", work)):
        [job] = await workshop.done(await workshop.submit("work"))

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["message"]) == (
        "unavailable",
        "The engine does not answer",
    )


async def test_a_step_in_trouble_is_cancelled_between_its_tries(workshop: Workshop) -> None:
    tried = asyncio.Event()

    async def reach() -> None:
        tried.set()
        raise Unavailable("The engine does not answer")

    async def work(context: JobContext) -> None:
        await context.step("reach", reach)

    async with workshop.running(JobKind("work", work)) as running:
        job_id = await workshop.submit("work")
        await tried.wait()
        await running.cancel(job_id)
        [job] = await workshop.done(job_id)

    assert job.status is JobStatus.CANCELLED


async def test_progress_is_shown_now_and_then_and_at_the_end(workshop: Workshop) -> None:
    leave = asyncio.Event()

    async def work(context: JobContext) -> None:
        for done in range(50):
            await context.progress(done, 51, "points")
        await leave.wait()
        await context.progress(51, 51, "points")

    async with workshop.running(JobKind("work", work)) as running:
        job_id = await workshop.submit("work")

        async def shown() -> bool:
            return (await running.get(job_id)).progress == Progress(49, 51, "points")

        await until(shown)
        leave.set()
        [job] = await workshop.done(job_id)

    assert job.progress == Progress(51, 51, "points")


# Failing


async def test_a_failure_is_undone_and_told(workshop: Workshop, diary: Diary) -> None:
    async def work(context: JobContext) -> None:
        await context.step("one", diary.note, "one")
        raise NotFound("The point 7 is gone", point="7")

    async def undo(context: JobContext) -> None:
        await context.step("one", diary.note, "one undone")

    async with workshop.running(JobKind("work", work, undo)):
        [job] = await workshop.done(await workshop.submit("work", "s"))

    assert job.status is JobStatus.FAILED
    assert job.error == {
        "code": "not_found",
        "message": "The point 7 is gone",
        "recovery": NotFound.recovery,
        "details": {"point": "7"},
    }
    assert diary.lines == ["one", "one undone"]


@pytest.mark.parametrize("inside", [True, False])
async def test_a_fault_is_told_without_what_is_inside(workshop: Workshop, inside: bool) -> None:
    async def stumble() -> None:
        raise RuntimeError("password=secret")

    async def work(context: JobContext) -> None:
        await (context.step("stumble", stumble) if inside else stumble())

    async with workshop.running(JobKind("work", work)):
        [job] = await workshop.done(await workshop.submit("work"))

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error["code"] == JobFailed.code == "internal"
    assert "secret" not in str(job)


async def test_an_error_of_a_step_is_caught_after_a_crash_as_before_it(
    workshop: Workshop, diary: Diary
) -> None:
    async def look() -> None:
        await diary.note("looked")
        raise Conflict("It is taken", by="someone")

    async def work(context: JobContext) -> None:
        try:
            await context.step("look", look)
        except Conflict as conflict:
            await diary.note(f"{conflict.message} {conflict.details}")
        await context.step("gate", diary.stand_at_gate, "passed")

    kind = JobKind("work", work)
    async with workshop.running(kind, grace=0):
        job_id = await workshop.submit("work")
        await diary.at_gate.wait()
    diary.gate.set()
    async with workshop.running(kind):
        [job] = await workshop.done(job_id)

    assert job.status is JobStatus.SUCCEEDED
    caught = "It is taken {'by': 'someone'}"
    assert diary.lines == ["looked", caught, caught, "passed"]


async def test_an_undoing_that_fails_is_told_and_frees_the_session(workshop: Workshop) -> None:
    async def work(context: JobContext) -> None:
        raise Conflict("first")

    async def undo(context: JobContext) -> None:
        raise NotFound("second")

    async with workshop.running(JobKind("work", work, undo), NOTHING):
        job_id, after = await workshop.submit("work", "s"), await workshop.submit("nothing", "s")
        failed, succeeded = await workshop.done(job_id, after)

    assert failed.error is not None
    assert (failed.error["code"], failed.error["undone"]) == ("conflict", False)
    assert failed.error["undo_error"]["message"] == "second"
    assert succeeded.status is JobStatus.SUCCEEDED


async def test_undoing_goes_on_after_a_crash_and_the_job_is_not_taken_up_again(
    workshop: Workshop, diary: Diary
) -> None:
    async def work(context: JobContext) -> None:
        for number in range(context.parameters["steps"]):
            await context.step("do", diary.note, f"do {number}")
        if "already" not in diary.lines:
            await diary.note("already")
            raise Conflict("no")

    async def undo(context: JobContext) -> None:
        await context.step("do", diary.note, "undo 1")
        await context.step("gate", diary.stand_at_gate, "undo 2")

    kind = JobKind("work", work, undo)
    async with workshop.running(kind, grace=0):
        job_id = await workshop.submit("work", "s", steps=2)
        await diary.at_gate.wait()
    diary.gate.set()
    async with workshop.running(kind):
        [job] = await workshop.done(job_id)

    assert job.status is JobStatus.FAILED
    assert diary.lines == ["do 0", "do 1", "already", "undo 1", "undo 2"]


async def test_a_kind_that_this_version_does_not_know_fails_and_frees_the_session(
    workshop: Workshop,
) -> None:
    async with workshop.running(NOTHING, JobKind("old", answer_nothing), run=False):
        old, after = await workshop.submit("old", "s"), await workshop.submit("nothing", "s")
    async with workshop.running(NOTHING):
        failed, succeeded = await workshop.done(old, after)

    assert failed.error is not None
    assert (failed.status, failed.error["code"]) == (JobStatus.FAILED, "unknown_job_kind")
    assert succeeded.status is JobStatus.SUCCEEDED


async def test_a_kind_that_this_version_does_in_other_steps_fails_clearly(
    workshop: Workshop, diary: Diary
) -> None:
    async def before(context: JobContext) -> None:
        await context.step("first", diary.note, "first")
        await context.step("gate", diary.stand_at_gate, "passed")

    async def now(context: JobContext) -> None:
        await context.step("renamed", diary.note, "renamed")

    async def undo(context: JobContext) -> None:
        await context.step("undo", diary.note, "undone")

    async with workshop.running(JobKind("work", before, undo), grace=0):
        job_id = await workshop.submit("work", "s")
        await diary.at_gate.wait()
    async with workshop.running(JobKind("work", now, undo)):
        [job] = await workshop.done(job_id)

    assert job.error is not None
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, "job_changed")
    assert diary.lines == ["first", "undone"]


async def test_a_result_that_is_not_json_fails_the_job(workshop: Workshop) -> None:
    async def work(context: JobContext) -> Any:
        return {"value": object()}

    async with workshop.running(JobKind("work", work)):
        [job] = await workshop.done(await workshop.submit("work"))

    assert job.status is JobStatus.FAILED


async def test_a_job_that_kills_its_process_each_time_is_given_up(
    workshop: Workshop, diary: Diary
) -> None:
    async def undo(context: JobContext) -> None:
        await context.step("undo", diary.note, "undone")

    kind = JobKind("work", answer_nothing, undo)
    async with workshop.running(kind, run=False):
        job_id = await workshop.submit("work")
        async with workshop.database.write() as connection:
            await connection.execute(sa.update(jobs).values(attempt=run_module.ATTEMPTS_MAX))
    async with workshop.running(kind):
        [job] = await workshop.done(job_id)

    assert job.error is not None
    assert job.error["code"] == "crashed_too_often"
    assert diary.lines == ["undone"]


# Cancelling


async def test_a_waiting_job_is_cancelled_at_once(workshop: Workshop, diary: Diary) -> None:
    async def work(context: JobContext) -> None:
        await context.step("gate", diary.stand_at_gate, "first")

    async with workshop.running(JobKind("work", work), NOTHING) as running:
        first = await workshop.submit("work", "s")
        second = await workshop.submit("work", "s", "t")
        third = await workshop.submit("nothing", "t")
        await diary.at_gate.wait()

        cancelled = await running.cancel(second)
        [after] = await workshop.done(third)
        diary.gate.set()
        [before] = await workshop.done(first)

    assert (cancelled.status, cancelled.error) == (JobStatus.CANCELLED, None)
    assert cancelled.started_at is None
    assert after.status is JobStatus.SUCCEEDED
    assert before.status is JobStatus.SUCCEEDED
    assert diary.lines == ["first"]


async def test_a_released_job_that_nobody_took_is_cancelled_at_once(workshop: Workshop) -> None:
    kind = JobKind("work", answer_nothing)
    async with workshop.running(kind, run=False) as submitting:
        first, second = await workshop.submit("work", "s"), await workshop.submit("work", "s")
        assert (await submitting.cancel(first)).status is JobStatus.CANCELLED
    async with workshop.running(kind) as running:
        assert [job.status for job in await workshop.done(second)] == [JobStatus.SUCCEEDED]
        assert (await running.get(first)).status is JobStatus.CANCELLED


async def test_a_running_job_is_cancelled_after_its_step_and_undone(
    workshop: Workshop, diary: Diary
) -> None:
    async def work(context: JobContext) -> None:
        await context.step("gate", diary.stand_at_gate, "one")
        await context.step("two", diary.note, "two")

    async def undo(context: JobContext) -> None:
        await context.step("one", diary.note, "one undone")

    async with workshop.running(JobKind("work", work, undo)) as running:
        job_id = await workshop.submit("work", "s")
        await diary.at_gate.wait()
        asked = await running.cancel(job_id)
        diary.gate.set()
        [job] = await workshop.done(job_id)
        again = await running.cancel(job_id)

    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
    assert (job.status, job.error) == (JobStatus.CANCELLED, None)
    assert again == job
    assert diary.lines == ["one", "one undone"]


async def test_what_cannot_be_cancelled_says_so(workshop: Workshop) -> None:
    kind = JobKind("work", answer_nothing, cancellable=False)
    async with workshop.running(kind, run=False) as submitting:
        job_id = await workshop.submit("work")
        with pytest.raises(Conflict):
            await submitting.cancel(job_id)
        with pytest.raises(JobNotFound):
            await submitting.cancel(str(uuid4()))
        assert (await submitting.get(job_id)).status is JobStatus.QUEUED


# Watching


async def test_waiting_ends_with_the_job_or_with_the_time(workshop: Workshop, diary: Diary) -> None:
    async def work(context: JobContext) -> None:
        await context.step("gate", diary.stand_at_gate, "passed")

    async with workshop.running(JobKind("work", work)) as running:
        job_id = await workshop.submit("work")
        begun = time.monotonic()
        assert not (await running.wait(job_id, 0)).status.is_final
        assert not (await running.wait(job_id, 0.2)).status.is_final
        assert time.monotonic() - begun < 2
        waiting = [asyncio.create_task(running.wait(job_id, 20)) for _ in range(3)]
        await diary.at_gate.wait()
        diary.gate.set()
        assert {job.status for job in await asyncio.gather(*waiting)} == {JobStatus.SUCCEEDED}
        with pytest.raises(JobNotFound):
            await running.wait(str(uuid4()), 1)


async def test_jobs_are_listed_newest_first_page_by_page(workshop: Workshop) -> None:
    async with workshop.running(NOTHING, JobKind("other", answer_nothing), run=False) as running:
        job_ids = [await workshop.submit("nothing", f"s{n % 2}") for n in range(5)]
        other = await workshop.submit("other")
        newest_first = [other, *reversed(job_ids)]

        pages: list[str] = []
        while page := await running.find(JobFilter(), limit=4, before=pages[-1] if pages else None):
            pages += [job.id for job in page]
        assert pages == newest_first

        async def found(filter: JobFilter) -> list[str]:
            return [job.id for job in await running.find(filter)]

        assert await found(JobFilter(session_id="s1")) == [job_ids[3], job_ids[1]]
        assert await found(JobFilter(kind="other")) == [other]
        assert await found(JobFilter(status=JobStatus.QUEUED)) == newest_first
        assert await found(JobFilter(status=JobStatus.RUNNING)) == []
        assert await found(JobFilter(owner_id="someone")) == []
        assert await running.counts() == {
            ("nothing", JobStatus.QUEUED): 5,
            ("other", JobStatus.QUEUED): 1,
        }
        with pytest.raises(InvalidInput, match="cursor"):
            await running.find(JobFilter(), before=str(uuid4()))


async def test_finished_jobs_are_forgotten_with_all_that_was_remembered(
    workshop: Workshop, diary: Diary
) -> None:
    async def work(context: JobContext) -> None:
        await context.step("note", diary.note, "noted")

    async with workshop.running(JobKind("work", work), NOTHING) as running:
        old = await workshop.submit("work", "s")
        await workshop.done(old)
        limit = datetime.now(UTC)
        new = await workshop.submit("work", "s")
        await workshop.done(new)

        assert await running.forget_finished(limit - timedelta(hours=1)) == 0
        assert await running.forget_finished(limit) == 1
        assert [job.id for job in await running.find(JobFilter())] == [new]
        assert await remembered(workshop, "workflow_status") == [new]
        assert await remembered(workshop, "operation_outputs") == [new]


async def remembered(workshop: Workshop, table: str) -> list[str]:
    schema = "" if workshop.database.is_sqlite else "dbos."
    async with workshop.database.read() as connection:
        rows = await connection.execute(sa.text(f"SELECT workflow_uuid FROM {schema}{table}"))
        return list(rows.scalars())


async def test_nothing_is_kept_as_pickle(workshop: Workshop, diary: Diary) -> None:
    async def work(context: JobContext) -> dict[str, int]:
        await context.step("note", diary.note, "noted")
        return {"one": 1}

    async with workshop.running(JobKind("work", work)):
        await workshop.done(await workshop.submit("work"))
    schema = "" if workshop.database.is_sqlite else "dbos."
    async with workshop.database.read() as connection:
        query = sa.text(
            f"SELECT serialization FROM {schema}workflow_status "
            f"UNION SELECT serialization FROM {schema}operation_outputs"
        )
        assert list((await connection.execute(query)).scalars()) == ["quire_json"]


# Starting and stopping


async def test_a_job_within_its_grace_ends_its_step_and_is_parked_before_the_next(
    workshop: Workshop, diary: Diary
) -> None:
    async def slow() -> None:
        diary.at_gate.set()
        await asyncio.sleep(0.3)
        await diary.note("slow")

    async def work(context: JobContext) -> None:
        await context.step("slow", slow)
        await context.step("next", diary.note, "next")

    kind = JobKind("work", work)
    async with workshop.running(kind, grace=10):
        job_id = await workshop.submit("work", "s")
        await diary.at_gate.wait()
    assert diary.lines == ["slow"]
    async with workshop.running(kind):
        [job] = await workshop.done(job_id)

    assert job.status is JobStatus.SUCCEEDED
    assert diary.lines == ["slow", "next"]


async def test_who_only_submits_runs_nothing(workshop: Workshop) -> None:
    before = threading.active_count()
    async with workshop.running(NOTHING, run=False) as submitting:
        job_id = await workshop.submit("nothing", "s")
        assert (await submitting.wait(job_id, 0.3)).status is JobStatus.QUEUED
        assert "submits" in await submitting.ping()
        assert not [it for it in threading.enumerate() if "queue-worker" in it.name]
    async with workshop.running(NOTHING) as running:
        assert [job.status for job in await workshop.done(job_id)] == [JobStatus.SUCCEEDED]
        assert "runs as" in await running.ping()
    assert threading.active_count() <= before + 3


async def test_a_process_runs_jobs_once_at_a_time(workshop: Workshop) -> None:
    async with workshop.running(NOTHING):
        second = DurableJobs(workshop.database, QUICK)
        with pytest.raises(RuntimeError, match="stop those first"):
            await second.start(run=True)
        await workshop.done(await workshop.submit("nothing"))
    await second.start(run=True)
    await second.stop(grace_seconds=0)


async def test_work_is_taken_at_once_where_it_was_submitted(workshop: Workshop) -> None:
    rare = DurableJobs(workshop.database, QUICK.model_copy(update={"poll_seconds": 1.0}))
    workshop.jobs = rare
    rare.register(NOTHING)
    await rare.start(run=True)
    try:
        await workshop.done(await workshop.submit("nothing", "s"))
        begun = time.monotonic()
        # One after the other, and then a row of successors.
        for _ in range(5):
            await workshop.done(await workshop.submit("nothing", "s"))
        await workshop.done(*[await workshop.submit("nothing", "s") for _ in range(5)])
        assert time.monotonic() - begun < 5
    finally:
        await rare.stop(grace_seconds=1)


async def test_starting_and_stopping_is_quick_and_leaves_threads_usable(
    workshop: Workshop,
) -> None:
    begun = time.monotonic()
    for _ in range(5):
        async with workshop.running(NOTHING):
            await workshop.done(await workshop.submit("nothing", "s"))
        assert await asyncio.to_thread(lambda: 1) == 1
    assert time.monotonic() - begun < 10


# Healing


async def test_a_job_that_nobody_released_is_found(workshop: Workshop) -> None:
    async with workshop.running(NOTHING, run=False):
        job_id = await workshop.submit("nothing", "s")
        async with workshop.database.write() as connection:
            await connection.execute(sa.update(jobs).values(released=False))
    async with workshop.running(NOTHING):
        assert [job.status for job in await workshop.done(job_id)] == [JobStatus.SUCCEEDED]


@pytest.mark.parametrize("loss", ["DELETE FROM", "ERROR", "CANCELLED"])
async def test_a_job_that_the_engine_lost_is_enqueued_again(workshop: Workshop, loss: str) -> None:
    table = "workflow_status" if workshop.database.is_sqlite else "dbos.workflow_status"
    async with workshop.running(NOTHING, run=False):
        job_id = await workshop.submit("nothing", "s")
        async with workshop.database.write() as connection:
            lose = f"{loss} {table}" if " " in loss else f"UPDATE {table} SET status = '{loss}'"
            await connection.execute(sa.text(lose))
    async with workshop.running(NOTHING):
        assert [job.status for job in await workshop.done(job_id)] == [JobStatus.SUCCEEDED]


async def test_a_finished_job_claims_nothing(workshop: Workshop) -> None:
    async with workshop.running(NOTHING):
        await workshop.done(await workshop.submit("nothing", "s", "t"))
    async with workshop.database.read() as connection:
        assert (await connection.execute(sa.select(job_sessions))).all() == []


async def test_an_attempt_that_is_over_can_write_nothing(workshop: Workshop, diary: Diary) -> None:
    async def work(context: JobContext) -> dict[str, int]:
        await context.step("gate", diary.stand_at_gate, "passed")
        return {"stale": 1}

    async with workshop.running(JobKind("work", work), grace=0) as running:
        job_id = await workshop.submit("work", "s")
        await diary.at_gate.wait()
        async with workshop.database.write() as connection:
            await connection.execute(sa.update(jobs).values(attempt=7, executor_id="another"))
        diary.gate.set()
        job = await running.wait(job_id, 0.5)

    assert (job.status, job.result) == (JobStatus.RUNNING, None)
