"""What agents cost: reading a chunk over MCP beside the same over REST, and a hundred at once."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from quire.access.principal import Scope
from tests.bench import load
from tests.bench.serving import Served, serve
from tests.bench.sessions import Figure, token

SESSION = "read-by-agents"
# A session keeps the results of twice as many queries, unless told otherwise.
AGENTS_IN_A_SESSION = 10
PARAGRAPH = "Leaves are gathered into quires, and quires are bound into books. " * 6
EMBEDDING = {"QUIRE_EMBEDDING_PROVIDER": "fake", "QUIRE_EMBEDDING_DIMENSION": "384"}
HANDSHAKE = {"MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": "of-the-benchmark"}
STATELESS = {
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "get_session_chunk",
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
GOAL_MS = 3.0


@dataclass(frozen=True)
class Sizes:
    chunks: int = 200
    reads: int = 200
    rounds: int = 5
    agents: int = 100
    calls: int = 10


QUICK = Sizes(chunks=40, reads=50, rounds=3, agents=20, calls=3)


def measure(environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """All figures, in the order of the goals."""
    headers = {"Authorization": f"Bearer {token('owner-1', Scope.WRITE)}"}
    with serve({**environment, **EMBEDDING}, empty_route=False) as served:
        _fill(served, headers, sizes)
        yield asyncio.run(_read(served, headers, sizes, "2025-11-25", HANDSHAKE, {}))
        yield asyncio.run(_read(served, headers, sizes, "2026-07-28", STATELESS, {"_meta": META}))
        yield asyncio.run(_crowd(served, headers, sizes))


def _fill(served: Served, headers: dict[str, str], sizes: Sizes) -> None:
    with httpx.Client(base_url=served.url, headers=headers, timeout=120) as client:
        documents = [{"text": f"{n}. {PARAGRAPH}"} for n in range(sizes.chunks)]
        for number in range(max(1, sizes.agents // AGENTS_IN_A_SESSION)):
            name = _session(number)
            client.post("/sessions", json={"id": name, "name": name}).raise_for_status()
            path = f"/sessions/{name}/documents"
            client.post(path, json={"documents": documents}).raise_for_status()


def _session(agent: int) -> str:
    return f"{SESSION}-{agent}"


async def _read(
    served: Served,
    headers: dict[str, str],
    sizes: Sizes,
    protocol: str,
    own: dict[str, str],
    more: dict[str, object],
) -> Figure:
    """In turn, so that both meet the same moods of the machine."""
    accepts = {"Accept": "application/json, text/event-stream"}
    rest, mcp = [], []
    for _ in range(sizes.rounds):
        numbers = [n % sizes.chunks for n in range(sizes.reads)]
        paths = [load.Request(f"/sessions/{_session(0)}/chunks/{n}") for n in numbers]
        timings, _ = await load.one_by_one(served.url, headers, paths)
        rest.append(timings.p50)
        calls = [load.Request("/mcp", _call(n, more)) for n in numbers]
        timings, answers = await load.one_by_one(served.url, {**headers, **accepts, **own}, calls)
        mcp.append(timings.p50)
        if b'"isError":true' in answers[-1]:
            raise RuntimeError(answers[-1].decode())
    above = statistics.median(mcp) - statistics.median(rest)
    return Figure(
        f"get_session_chunk by MCP {protocol}, p50",
        f"{statistics.median(mcp):.1f} ms, {above:.1f} ms above REST "
        f"({statistics.median(rest):.1f} ms)",
        f"≤ {GOAL_MS:g} ms above",
        above <= GOAL_MS,
    )


def _call(number: int, more: dict[str, object]) -> bytes:
    arguments = {"session_id": _session(0), "chunk_index": number}
    params = {"name": "get_session_chunk", "arguments": arguments, **more}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return json.dumps(message).encode()


async def _crowd(served: Served, headers: dict[str, str], sizes: Sizes) -> Figure:
    started = time.perf_counter()
    failures: Counter[str] = Counter()
    await asyncio.gather(
        *(_work(served, headers, sizes, number, failures) for number in range(sizes.agents))
    )
    seconds = time.perf_counter() - started
    calls = sizes.agents * sizes.calls
    return Figure(
        f"{sizes.agents} agents at once, {sizes.calls} calls each",
        f"{failures.total()} errors {dict(failures) or ''}, {calls / seconds:.0f} calls/s",
        "no error",
        not failures,
    )


async def _work(
    served: Served, headers: dict[str, str], sizes: Sizes, number: int, failures: Counter[str]
) -> None:
    """One agent's calls, half of the agents in either protocol; counts what failed."""
    session_id = _session(number % max(1, sizes.agents // AGENTS_IN_A_SESSION))
    mode = "legacy" if number % 2 else "auto"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=120, trust_env=False) as http,
        Client(streamable_http_client(f"{served.url}/mcp", http_client=http), mode=mode) as client,
    ):

        async def ask(tool: str, **arguments: object) -> None:
            result = await client.call_tool(tool, arguments)
            if result.is_error:
                failures[(result.structured_content or {})["message"]] += 1

        await ask("search_session", session_id=session_id, query=f"leaves {number}")
        for call in range(sizes.calls - 1):
            if call % 2:
                index = (number + call) % sizes.chunks
                await ask("get_session_chunk", session_id=session_id, chunk_index=index)
            else:
                await ask("get_nth_page", page_index=0)
