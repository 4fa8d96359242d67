"""What routers have in common: answers, preconditions, waiting for jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import Depends, Header, Query, Request, Response
from pydantic import AwareDatetime

from quire.app import Quire
from quire.errors import Conflict, LimitExceeded
from quire.jobs.failures import revive
from quire.jobs.port import Job, JobStatus
from quire.sessions.models import Session
from quire_api.shapes import session_shape

LONGEST_WAIT_SECONDS = 300.0
DEFAULT_WAIT_SECONDS = 30.0
WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})", re.IGNORECASE)


async def quire_of(request: Request) -> Quire:
    quire: Quire = request.app.state.quire
    return quire


async def wait_seconds(
    prefer: Annotated[
        str | None, Header(description="`wait=N`: wait so many seconds for long work")
    ] = None,
) -> float:
    found = WAIT.search(prefer or "")
    return min(float(found[1]), LONGEST_WAIT_SECONDS) if found else DEFAULT_WAIT_SECONDS


async def page_size(
    request: Request,
    limit: Annotated[int, Query(ge=1, description="how many at most on this page")] = 100,
) -> int:
    largest: int = request.app.state.quire.settings.limits.page_size
    if limit > largest:
        raise LimitExceeded(
            f"limit is at most {largest} (QUIRE_LIMITS_PAGE_SIZE)",
            field="query parameter limit",
            recovery="Ask for smaller pages; the Link header leads to the next one.",
        )
    return limit


TheQuire = Annotated[Quire, Depends(quire_of)]
PageSize = Annotated[int, Depends(page_size)]
Wait = Annotated[float, Depends(wait_seconds)]
Since = Annotated[AwareDatetime | None, Query(description="not before this moment")]
Until = Annotated[AwareDatetime | None, Query(description="before this moment")]
IfMatch = Annotated[str | None, Header(description="the ETag that the change is made against")]
IfNoneMatch = Annotated[
    str | None, Header(description="ETags that are known already; `*`: if there is nothing yet")
]


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    content = orjson.dumps(value, option=orjson.OPT_UTC_Z)
    return Response(content, status, headers, media_type="application/json")


def session_response(session: Session, headers: Mapping[str, str] | None = None) -> Response:
    return json_response(session_shape(session), headers={"ETag": session.etag, **(headers or {})})


def names_etag(if_none_match: str | None, etag: str) -> bool:
    """RFC 9110: a list of tags, weak or strong alike, or `*` for any."""
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in known or "*" in known


def next_link(request: Request, cursor: str | None) -> dict[str, str]:
    """RFC 8288: the next page of the list that was asked for."""
    if cursor is None:
        return {}
    parameters = {**request.query_params, "cursor": cursor}
    return {"Link": f'<{request.url.path}?{urlencode(parameters)}>; rel="next"'}


def require_not_failed(job: Job) -> None:
    """Raise what the job failed with, for a caller who waited for it."""
    if job.status is JobStatus.FAILED and job.error is not None:
        raise revive(job.error)
    if job.status is JobStatus.CANCELLED:
        raise Conflict(f"Job {job.id} was cancelled", recovery="Send the request again.")


def job_shape(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "session_id": job.session_id,
        "status": job.status.value,
        "progress": {
            "done": job.progress.done,
            "total": job.progress.total,
            "unit": job.progress.unit,
            "details": job.progress.details,
        },
        "result": job.result,
        "error": job.error,
        "cancel_requested": job.cancel_requested,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
