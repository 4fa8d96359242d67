"""Walk 2: a search of logs with thousands of hits is paged through, expires, and says so.

QUIRE_QUERY_TTL_SECONDS=5 QUIRE_QUERY_RESULTS=10000 make serve
.venv/bin/python docs/walks/logs.py http://127.0.0.1:8087
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import httpx
from mcp import Client

LINES = 12_000
SERVICES = ["api", "billing", "search"]


def fill(address: str) -> str:
    """A session with a point for each line of a log; every sixth is no error."""
    with httpx.Client(base_url=address, timeout=60) as http:
        made = http.post("/sessions", json={"name": "logs", "embedding": {"dimension": 2}})
        session_id: str = made.raise_for_status().json()["id"]
        for start in range(0, LINES, 1000):
            points = [
                {
                    "id": number,
                    "vector": [1.0, number / LINES],
                    "payload": {
                        "text": f"request {number} answered",
                        "level": "info" if number % 6 == 0 else "error",
                        "service": SERVICES[number % 3],
                        "timestamp": time.strftime(
                            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_750_000_000 + number)
                        ),
                    },
                }
                for number in range(start, start + 1000)
            ]
            written = http.put(f"/sessions/{session_id}/points", json={"points": points})
            written.raise_for_status()
    return session_id


async def walk(address: str, session_id: str) -> None:
    async with Client(f"{address}/mcp") as agent:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            answer = await agent.call_tool(tool, arguments)
            return answer.structured_content or {}

        early = await call("get_nth_page", page_index=1)
        print(f"before any query: {early['message']}")

        first = await call("search_by_kql", query="level: error", session_id=session_id)
        print(f"errors: {first['TotalResults']}, pages: {first['NumPages']}")
        print(f"on the first page: {len(first['Page0'])}, more: {first['has_next']}")

        seventh = await call("get_nth_page", page_index=7)
        print(f"page 7: {len(seventh['items'])} of {seventh['num_total_items']}")

        beyond = await call("get_nth_page", page_index=5000)
        print(f"page 5000: {beyond['message']}")

        await asyncio.sleep(6)
        late = await call("get_nth_page", page_index=8)
        print(f"six seconds later: {late['message']}")


if __name__ == "__main__":
    asyncio.run(walk(sys.argv[1], fill(sys.argv[1])))
