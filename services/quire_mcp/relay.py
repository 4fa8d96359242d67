"""A process's stdin and stdout, connected with a server's `/mcp`, message by message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.server.stdio import stdio_server
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
)
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import PROTOCOL_VERSION_META_KEY, JSONRPCRequest, JSONRPCResponse

# A tool may be at work for minutes, and says so meanwhile.
READ_SECONDS = 600.0


async def relay(url: str, token: str | None) -> None:
    """Relay until stdin ends. Either protocol passes as it is, with the headers that it needs."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout = httpx2.Timeout(30, read=READ_SECONDS)
    async with (
        # No proxy stands between us and ourselves; its cookies say who we are.
        httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as client,
        streamable_http_client(url, http_client=client) as (from_server, to_server),
        stdio_server() as (from_agent, to_agent),
        anyio.create_task_group() as tasks,
    ):
        stamp = _Stamp()

        async def answer() -> None:
            async for message in from_server:
                if isinstance(message, SessionMessage):
                    stamp.note(message)
                    await to_agent.send(message)

        tasks.start_soon(answer)
        async for message in from_agent:
            if isinstance(message, SessionMessage):
                await to_server.send(stamp.on(message))
        tasks.cancel_scope.cancel()


class _Stamp:
    """The headers of a message over HTTP, which say again what is in it."""

    def __init__(self) -> None:
        self._initialising: str | int | None = None
        self._agreed: str | None = None

    def on(self, message: SessionMessage) -> SessionMessage:
        said = message.message
        if isinstance(said, JSONRPCRequest) and said.method == "initialize":
            self._initialising, self._agreed = said.id, None
        headers = _modern(said) if isinstance(said, JSONRPCRequest) else None
        if headers is None and self._agreed is not None:
            headers = {MCP_PROTOCOL_VERSION_HEADER: self._agreed}
        return SessionMessage(said, ClientMessageMetadata(headers=headers))

    def note(self, message: SessionMessage) -> None:
        """Of the answer to the handshake: which version it is from then on."""
        said = message.message
        if isinstance(said, JSONRPCResponse) and said.id == self._initialising:
            version = said.result.get("protocolVersion")
            self._agreed = version if isinstance(version, str) else None


def _modern(request: JSONRPCRequest) -> dict[str, str] | None:
    """What the stateless protocol wants in headers; None for a request with a handshake before."""
    params: Mapping[str, Any] = request.params or {}
    meta = params.get("_meta")
    version = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, Mapping) else None
    if not isinstance(version, str):
        return None
    headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: request.method}
    named = NAME_BEARING_METHODS.get(request.method)
    if named is not None and isinstance(name := params.get(named), str):
        headers[MCP_NAME_HEADER] = encode_header_value(name)
    return headers
