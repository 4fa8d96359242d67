"""The protocol over HTTP. Every request stands alone, so any process of a cluster may have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quire.app import Quire
from quire.errors import BadRequest
from quire_mcp.callers import Caller, calling
from quire_mcp.recognition import recognise
from quire_mcp.server import build_server

METHODS = "POST, DELETE"


# A request that says one of these may take long, and is answered by a stream that says how far it
# is; others by plain JSON, which is quicker, and leaves the connection to the next request.
SLOW = (b'"progressToken"', b'"wait_seconds"', b'"subscriptions/listen"')


@asynccontextmanager
async def serve(quire: Quire) -> AsyncIterator[ASGIApp]:
    """The app, while the block lasts."""
    protocol = build_server(quire)._mcp_server  # noqa: SLF001 - no other way to its transport
    # No tool mirrors arguments in headers; without this all are listed before each call.
    protocol.get_tool_input_schema = lambda name: None

    def manager(*, streams: bool) -> StreamableHTTPSessionManager:
        return StreamableHTTPSessionManager(
            protocol,
            stateless=True,
            json_response=not streams,
            # The API's own layers look at origins, and at how large a body is.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=quire.settings.limits.body_bytes,
        )

    slow, quick = manager(streams=True), manager(streams=False)

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        recognised = recognise(scope, scope["principal"])
        if scope["method"] == "DELETE":
            await quire.agents.end(recognised.agent)
            await Response(status_code=204)(scope, receive, send)
            return
        if scope["method"] != "POST":  # there is nothing to say that nobody asked for
            await Response(status_code=405, headers={"Allow": METHODS})(scope, receive, send)
            return
        body, again = await _read(receive)
        chosen = slow if any(word in body for word in SLOW) else quick
        with calling(Caller(scope["principal"], recognised.agent, _url(scope, quire))):
            await chosen.handle_request(scope, again, recognised.telling(send))

    async with slow.run(), quick.run():
        yield served


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """The body, and a way to read it again."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise BadRequest("The body broke off")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return unread.pop() if unread else await receive()

    return body, again


def _url(scope: Scope, quire: Quire) -> str:
    """Where the API is for whoever sends this request."""
    if quire.settings.mcp.url is not None:
        return quire.settings.mcp.url.rstrip("/")
    host = next(
        (value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), ""
    )
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}"
