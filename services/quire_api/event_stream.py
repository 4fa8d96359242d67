"""Events as a stream of `text/event-stream`, the form that browsers' EventSource reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, closing
from functools import lru_cache
from typing import Any

import orjson
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from quire.errors import QuireError, Unavailable
from quire.events.following import Following
from quire.events.log import Event

MEDIA_TYPE = "text/event-stream"
# A proxy that buffers would hold back what is live.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
RETRY_MILLISECONDS = 2_000
ALIVE = b": alive\n\n"
FRAMES_KEPT = 512


class EventStream(StreamingResponse):
    """The answer that lasts; whatever ends it, its place is free again at once."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._frames = frames(following)
        super().__init__(self._frames, headers=HEADERS, media_type=MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._following):
            async with aclosing(self._frames):
                await super().__call__(scope, receive, send)


async def frames(following: Following) -> AsyncGenerator[bytes, None]:
    """All of a stream, with how it ended where it did not simply stop."""
    # An id without data: who is cut off before the first event comes back to this place.
    yield b"retry: %d\nid: %d\n\n" % (RETRY_MILLISECONDS, following.position)
    if following.has_gap:
        yield _signal(
            "gap",
            {
                "session_id": following.session_id,
                "message": "Events after the last id may be forgotten",
                "recovery": "Read the session again; what follows is all that is kept.",
            },
        )
    try:
        async with aclosing(following.events()) as events:
            async for event in events:
                yield ALIVE if event is None else frame(event)
    except Unavailable as error:  # who fell behind, or a part that does not answer: come back
        yield _signal("dropped", _told(error, following))
    except QuireError as error:
        yield _signal("end", _told(error, following))


# One event goes to everyone who listens, as the same bytes.
@lru_cache(maxsize=FRAMES_KEPT)
def frame(event: Event) -> bytes:
    content = {
        "id": event.seq,
        "kind": event.kind,
        "session_id": event.session_id,
        "at": event.at,
        **event.data,
    }
    data = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.kind.encode(), data)


def _told(error: QuireError, following: Following) -> dict[str, Any]:
    return {
        "session_id": following.session_id,
        "code": error.code,
        "message": error.message,
        "recovery": error.recovery,
    }


def _signal(name: str, content: Mapping[str, Any]) -> bytes:
    """What is said of the stream itself: it has no id, so nobody comes back to it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(content))
