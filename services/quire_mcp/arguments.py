"""Arguments that several tools take: what they mean, and what they look like."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

SessionId = Annotated[
    str,
    Field(
        description="The session's id, as create_session, list_sessions or crawl gave it.",
        examples=["spring-archive", "550e8400-e29b-41d4-a716-446655440000"],
    ),
]
ChunkIndex = Annotated[
    int,
    Field(description="The chunk's number in the session, from 0.", examples=[0, 25]),
]
Neighbours = Annotated[
    int, Field(description="So many chunks of the same document besides.", examples=[1])
]
ChunkSize = Annotated[
    int | None,
    Field(
        description="Characters in a chunk, at most; none is larger than the model's window.",
        examples=[1000],
    ),
]
Cursor = Annotated[
    str | None, Field(description="From the answer before, for the next page.", max_length=1000)
]
