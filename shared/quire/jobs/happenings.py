"""How a job stands, told to whoever follows one of its sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quire.events.log import EventKind, NewEvent
from quire.jobs.port import JobStatus, Progress


def events_of_job(
    job_id: str,
    job_kind: str,
    sessions: Iterable[str | None],
    status: JobStatus,
    progress: Progress,
    error: Mapping[str, Any] | None = None,
) -> list[NewEvent]:
    """One event for each of the sessions that it is shown at or holds."""
    data: dict[str, Any] = {
        "job_id": job_id,
        "job_kind": job_kind,
        "status": status.value,
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "details": dict(progress.details),
        },
    }
    if error is not None:
        data["error"] = dict(error)
    return [
        NewEvent(session_id, EventKind.JOB_PROGRESS, data)
        for session_id in dict.fromkeys(sessions)
        if session_id is not None
    ]
