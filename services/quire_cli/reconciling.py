"""`quire reconcile`: orphans on either side, told in plain words, and removed when asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict

from quire.app import Part, Quire
from quire.errors import Unavailable
from quire.jobs.port import JobFilter, JobStatus
from quire.sessions.reconciliation import Findings
from quire.settings import Settings
from quire_cli.readiness import until_ready

PURGE_SECONDS = 300.0


async def reconcile(settings: Settings, *, repair: bool, force: bool) -> Findings:
    """Compare, and repair when asked; when this returns the repair is done."""
    # Purging is a job, and nobody else may be there to run it.
    part = Part.WORKER if repair else Part.TOOL
    async with Quire.open(settings, part) as quire:
        await until_ready(quire, undone="compared")
        findings = await quire.reconciliation.run(repair=repair, force=force)
        if repair:
            await _until_purged(quire, list(findings.missing_collections))
    return findings


async def _until_purged(quire: Quire, session_ids: list[str]) -> None:
    deadline = time.monotonic() + PURGE_SECONDS
    for session_id in session_ids:
        for job in await quire.jobs.find(JobFilter(session_id=session_id, kind="purge")):
            ended = await quire.jobs.wait(job.id, max(0.0, deadline - time.monotonic()))
            if ended.status is not JobStatus.SUCCEEDED:
                raise Unavailable(
                    f"Purging session {session_id} is not done: job {job.id} is {ended.status}",
                    recovery="It goes on with the next start of `quire serve` or `quire worker`.",
                )


def as_text(findings: Findings, *, repair: bool) -> str:
    """The findings as people read them."""
    return "\n".join(_lines(findings, repair))


def to_json(findings: Findings) -> str:
    """The findings as one object."""
    return json.dumps({"clean": findings.is_clean, **asdict(findings)}, indent=2)


def _lines(findings: Findings, repair: bool) -> Iterator[str]:
    sessions, collections = findings.sessions_checked, findings.collections_checked
    yield f"Compared {sessions} sessions with {collections} collections."
    for name in findings.orphan_collections:
        yield f"Orphan: the collection {name} belongs to no session."
    for session_id, points_lost in findings.missing_collections.items():
        held = "it held points, which are lost" if points_lost else "it held no points"
        yield f"Lost: the collection of session {session_id} is gone; {held}."
    for session_id, job_id in findings.held_sessions.items():
        yield f"Held: session {session_id} takes no points, for job {job_id}, which has ended."
    for done in findings.repaired:
        yield f"Repaired: {done}."
    if findings.is_clean:
        yield "No orphans."
    elif not repair:
        yield (
            "Nothing was changed. `quire reconcile --repair` drops orphan collections, lays lost "
            "empty ones anew, purges sessions whose points are lost, and frees held ones."
        )
