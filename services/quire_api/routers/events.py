"""What happens to a session, as it happens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from quire.errors import InvalidInput
from quire.events.log import EventKind
from quire_api.authentication import Caller
from quire_api.event_stream import MEDIA_TYPE, EventStream
from quire_api.http import TheQuire
from quire_api.problems import problem_responses

router = APIRouter(prefix="/sessions/{session_id}/events", tags=["activity"])

LAST_ID_MAX = 2**63 - 1  # 19 digits
EXAMPLE = """retry: 2000
id: 41

id: 42
event: document.ready
data: {"id":42,"kind":"document.ready","session_id":"demo","at":"2026-01-01T12:00:00Z",\
"document_id":"report","title":"The report","job_id":"6f0a…","chunks_count":12}

: alive

"""
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events, until the caller disconnects or may not read the session any more",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}},
    }
}


@router.get(
    "",
    response_class=Response,
    responses={**STREAM, **problem_responses(401, 403, 404, 410, 422, 503)},
)
async def follow_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    kinds: Annotated[
        str | None,
        Query(description=f"a,b: only these kinds; there are {', '.join(EventKind)}"),
    ] = None,
    last_event_id: Annotated[
        str | None, Query(description="begin after this event; 0: with the oldest that is kept")
    ] = None,
    last_id_seen: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="the same, from a client that comes back: it goes before the parameter",
        ),
    ] = None,
) -> Response:
    """Follow the session (server-sent events). Without a last id: what happens from now on.

    Comments come while nothing happens. `event: gap` comes first where events that were asked for
    may be forgotten; `event: dropped` is the last when the caller read too slowly, and may come
    back; `event: end` when the session is gone, or the caller may not read it any more.
    """
    following = await quire.events.follow(
        caller,
        session_id,
        after=_read_id(last_id_seen or last_event_id),
        kinds=_read_kinds(kinds),
    )
    return EventStream(following)


def _read_id(given: str | None) -> int | None:
    if not given:
        return None
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(LAST_ID_MAX))
    if not is_number or int(given) > LAST_ID_MAX:
        raise InvalidInput(
            f"The last event's id is a number that an event had, or 0, not {given[:40]!r}",
            field="last_event_id",
        )
    return int(given)


def _read_kinds(given: str | None) -> list[EventKind] | None:
    if given is None:
        return None
    kinds = []
    for name in given.split(","):
        try:
            kinds.append(EventKind(name.strip()))
        except ValueError:
            raise InvalidInput(
                f"There is no kind of event {name.strip()[:40]!r}; there are "
                f"{', '.join(EventKind)}",
                field="query parameter kinds",
            ) from None
    return kinds
