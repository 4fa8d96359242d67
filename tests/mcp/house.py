"""A server for agents in this process, under the settings that a test wants."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp import Client

from quire.access.principal import LOCAL, Principal
from quire.activity.agents import Agent as Recognised
from quire_mcp.callers import Caller, calling
from quire_mcp.server import build_server
from tests.content.house import filled_quire
from tests.mcp.agents import Agent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp_types import CallToolResult, Tool

    from quire.app import Quire


@asynccontextmanager
async def quire_for(directory: Path, **settings: Any) -> AsyncIterator[Quire]:
    async with filled_quire(directory, **settings) as quire:
        yield quire


class Present(Agent):
    """An agent in this process: no request says who it is, so each of its calls does."""

    def __init__(self, client: Client, caller: Caller) -> None:
        super().__init__(client)
        self._caller = caller

    async def ask(self, tool: str, **arguments: Any) -> CallToolResult:
        with calling(self._caller):
            return await super().ask(tool, **arguments)

    async def listed(self) -> list[Tool]:
        with calling(self._caller):
            return await super().listed()

    async def read(self, uri: str) -> str:
        with calling(self._caller):
            return await super().read(uri)


@asynccontextmanager
async def agent_of(
    quire: Quire, name: str = "agent", principal: Principal = LOCAL
) -> AsyncIterator[Agent]:
    """An agent, connected without a wire."""
    caller = Caller(principal, Recognised((name,), principal.subject), "http://quire")
    async with Client(build_server(quire)._mcp_server) as client:
        yield Present(client, caller)
