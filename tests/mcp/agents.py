"""Agents for the tests: the official client, over HTTP and over stdio, in both protocols."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from quire.access.principal import Scope
from quire.access.tokens import create_token
from tests.backends.ports import free_ports
from tests.cli.command import QUIRE, SECRET, environment
from tests.web.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp_types import CallToolResult, Tool

# The server has to know before it starts where it may fetch from.
(SITE_PORT,) = free_ports(1)
FAKE = {"QUIRE_EMBEDDING_PROVIDER": "fake", "QUIRE_EMBEDDING_DIMENSION": "32"}
HANDSHAKE, STATELESS = "legacy", "auto"  # what the client calls them
BOTH = (HANDSHAKE, STATELESS)

NAMES = frozenset(
    {
        "get_instructions", "create_session", "list_sessions", "get_session_info",
        "get_session_chunk", "get_session", "get_session_urls", "ingest", "get_content",
        "get_structure", "crawl", "search_session", "search_by_kql", "get_nth_page", "add_message",
        "link_invocation", "merge_sessions", "split_session", "fork_session", "export_session",
    }
)  # fmt: skip
READERS = frozenset(
    {
        "get_instructions", "list_sessions", "get_session_info", "get_session_chunk", "get_session",
        "get_session_urls", "get_content", "get_structure", "search_session", "search_by_kql",
        "get_nth_page", "export_session", "list_documents", "list_messages", "get_context",
        "get_job",
    }
)  # fmt: skip


class Agent:
    """A connected client, and a short way to call its tools."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(self, tool: str, **arguments: Any) -> CallToolResult:
        return await self.client.call_tool(tool, arguments)

    async def done(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool that succeeds answers."""
        result = await self.ask(tool, **arguments)
        assert not result.is_error, result
        assert result.structured_content is not None
        assert result.structured_content["next"], result
        answer: dict[str, Any] = result.structured_content
        return answer

    async def refused(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool that fails says: to be read, and to be worked with."""
        result = await self.ask(tool, **arguments)
        assert result.is_error, result
        told = result.structured_content
        assert told is not None
        assert {"code", "message", "recovery", "status"} <= told.keys()
        (text,) = result.content
        assert text.type == "text"
        assert text.text.startswith(told["message"])
        assert told["recovery"] in text.text
        error: dict[str, Any] = told
        return error

    async def listed(self) -> list[Tool]:
        return (await self.client.list_tools()).tools

    async def tools(self) -> set[str]:
        return {tool.name for tool in await self.listed()}

    async def read(self, uri: str) -> str:
        """The text of a resource."""
        (content,) = (await self.client.read_resource(uri)).contents
        return str(content.text)


@asynccontextmanager
async def over_http(
    url: str, token: str | None = None, mode: str = STATELESS
) -> AsyncIterator[Agent]:
    """An agent of a server that runs."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield Agent(client)


@asynccontextmanager
async def over_stdio(
    data_dir: Path, *arguments: str, mode: str = STATELESS, **settings: str
) -> AsyncIterator[Agent]:
    """An agent that starts `quire mcp` itself."""
    given = environment(data_dir, {**FAKE, **settings})
    started = StdioServerParameters(command=QUIRE, args=["mcp", *arguments], env=given)
    async with Client(started, mode=mode) as client:
        yield Agent(client)


def token(subject: str, scope: str = "write") -> str:
    """A token that a server with SECRET accepts."""
    return create_token(SecretStr(SECRET), subject, [], Scope(scope))


def prose(count: int, about: str = "leaves") -> str:
    return "\n\n".join(
        f"Paragraph {n} tells of {about}, of quires and of bindings." for n in range(count)
    )


@asynccontextmanager
async def website() -> AsyncIterator[Site]:
    """A site that the servers of these tests may fetch from."""
    site = Site(port=SITE_PORT)
    async with await asyncio.start_server(site.serve, "127.0.0.1", SITE_PORT):
        yield site
