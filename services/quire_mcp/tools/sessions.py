"""Sessions: make one, find them, look at one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from quire.sessions.listing import SessionFilter
from quire.sessions.models import Outcome, Status
from quire.sessions.requests import NewSession
from quire_mcp.arguments import Cursor, SessionId
from quire_mcp.callers import caller
from quire_mcp.shapes import SessionBrief, call, moment, session_brief, session_uri
from quire_mcp.toolbox import Toolbox

MOST_LISTED = 100


class CreatedSession(SessionBrief):
    created: Annotated[bool, Field(description="False: a session with this id was there already.")]
    next: str


class SessionList(TypedDict):
    sessions: list[SessionBrief]
    next_cursor: str | None
    next: str


class SessionInfo(SessionBrief):
    """A session as it stands."""

    owner_id: str | None
    group: str | None
    outcome: str | None
    total_size_bytes: Annotated[int, Field(description="Of its documents, as they came.")]
    total_documents: int
    total_characters: int
    source_url: Annotated[
        str | None, Field(description="Where its documents are from, if that is one place.")
    ]
    expires_at: str | None
    embedding_model: str
    residency: str
    metadata: Annotated[
        dict[str, Any] | None, Field(description="Null where it is too large for an answer.")
    ]
    uri: str
    next: str


def offer(toolbox: Toolbox) -> None:
    """The tools of this module."""
    quire = toolbox.quire

    @toolbox.writes("Create a session", idempotent=True)
    async def create_session(
        name: Annotated[str, Field(description="What people call it.", examples=["Spring"])],
        id: Annotated[
            str | None,
            Field(
                description="An id of your own; repeating the call is then harmless.",
                examples=["spring-archive"],
            ),
        ] = None,
        description: Annotated[str | None, Field(description="What the work is about.")] = None,
        tags: Annotated[
            list[str] | None, Field(description="To find it by.", examples=[["bug-fix", "urgent"]])
        ] = None,
        metadata: Annotated[
            dict[str, Any] | None,
            Field(description="Anything else, as JSON.", examples=[{"priority": "high"}]),
        ] = None,
        ttl_seconds: Annotated[
            float | None,
            Field(description="It is deleted when unused so long; unset: never.", examples=[1800]),
        ] = None,
    ) -> CreatedSession:
        """Make an empty session, to be filled with ingest."""
        new = NewSession(
            name=name,
            id=id,
            description=description,
            tags=tuple(tags or ()),
            metadata=metadata or {},
            ttl_seconds=ttl_seconds,
        )
        session, created = await quire.creation.create(caller().principal, new)
        return {
            **session_brief(session),
            "created": created,
            "next": f"Fill it: {call('ingest', session_id=session.id)} with documents.",
        }

    @toolbox.reads("List sessions")
    async def list_sessions(
        q: Annotated[
            str | None, Field(description="In name or description.", examples=["archive"])
        ] = None,
        tags: Annotated[
            list[str] | None, Field(description="Any of them.", examples=[["bug-fix"]])
        ] = None,
        status: Annotated[
            Status | None, Field(description="Unset: active, shared and archived.")
        ] = None,
        outcome: Annotated[
            Outcome | None, Field(description="How the work in it came out.")
        ] = None,
        owner_id: Annotated[str | None, Field(description="Whose they are.")] = None,
        group: Annotated[str | None, Field(description="Which group they belong to.")] = None,
        limit: Annotated[int, Field(description="How many.", ge=1, le=MOST_LISTED)] = 20,
        cursor: Cursor = None,
    ) -> SessionList:
        """The sessions you may see, those that changed last first."""
        wanted = SessionFilter(
            status=status,
            owner_id=owner_id,
            group=group,
            tags=tuple(tags or ()),
            q=q,
            outcome=outcome,
        )
        principal = caller().principal
        most = limit
        while True:  # a cursor is known for whole pages only: ask for the page that fits
            page = await quire.listing.find(principal, wanted, cursor=cursor, limit=most)
            briefs = [session_brief(session) for session in page.sessions]
            answer = _listed(briefs, page.next_cursor)
            if toolbox.budget.holds(answer):
                return answer
            if most == 1:
                alone = functools.partial(_listed, cursor=page.next_cursor)
                return toolbox.budget.fit_items(briefs, alone)
            most //= 2

    @toolbox.reads("Look at a session")
    async def get_session_info(session_id: SessionId) -> SessionInfo:
        """A session's size, chunk count, creation time, source and status."""
        principal = caller().principal
        session = await quire.sessions.get(principal, session_id)
        held = await quire.holdings.of(principal, session_id)
        last = session.next_seq - 1
        following = "It has no chunks yet: ingest documents."
        if last >= 0:
            first = call("get_session_chunk", session_id=session.id, chunk_index=0)
            following = f"Read chunks 0 to {last}: {first}; or find them with search_session."

        def built(brief: SessionBrief, *, whole: bool = False) -> SessionInfo:
            return {
                **brief,
                "total_chunks": session.chunks_count,
                "owner_id": session.owner_id,
                "group": session.group,
                "outcome": None if session.outcome is None else session.outcome.value,
                "total_size_bytes": held.bytes,
                "total_documents": held.documents,
                "total_characters": held.characters,
                "source_url": session.metadata.get("source_url") or held.source_url,
                "expires_at": None if session.expires_at is None else moment(session.expires_at),
                "embedding_model": session.embedding.model,
                "residency": session.residency.value,
                "metadata": dict(session.metadata) if whole else None,
                "uri": session_uri(session.id),
                "next": following,
            }

        brief = session_brief(session)
        answer = built(brief, whole=True)
        if toolbox.budget.holds(answer):
            return answer
        return toolbox.budget.fit_items([brief], lambda shown: built(shown[0]))


def _listed(briefs: Sequence[SessionBrief], cursor: str | None) -> SessionList:
    following = "Look at one: get_session_info(session_id)."
    if cursor is not None:
        following += (
            f" The next page: {call('list_sessions', cursor=cursor)} with the same filters."
        )
    if not briefs:
        following = "There are none: bring content with crawl, get_content or ingest."
    return {"sessions": list(briefs), "next_cursor": cursor, "next": following}
