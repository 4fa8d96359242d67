"""The protocol over a process's own stdin and stdout: one agent, for as long as it lives."""

from __future__ import annotations

import uuid

from quire.access.principal import Principal
from quire.activity.agents import Agent
from quire.app import Quire
from quire_mcp.callers import Caller, calling
from quire_mcp.server import build_server


async def serve_stdio(quire: Quire, principal: Principal, url: str) -> None:
    """Serve until stdin ends; `url` is where the API would be."""
    agent = Agent((f"process {uuid.uuid4()}",), principal.subject)
    address = (quire.settings.mcp.url or url).rstrip("/")
    with calling(Caller(principal, agent, address)):
        await build_server(quire).run_stdio_async(show_banner=False)
