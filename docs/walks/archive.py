"""Walk 1: an agent crawls an archive, reads by index and by meaning, and answers with a citation.

QUIRE_WEB_ALLOW=127.0.0.1 QUIRE_WEB_DELAY_SECONDS=0 make serve
.venv/bin/python docs/walks/archive.py http://127.0.0.1:8087
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from letters import served
from mcp import Client

QUESTION = "Who brought light back to the ships in bad weather?"


async def walk(address: str, site: str) -> None:
    async with Client(f"{address}/mcp") as agent:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            answer = await agent.call_tool(tool, arguments)
            assert not answer.is_error, answer.content
            return answer.structured_content or {}

        crawled = await call("crawl", url=site, depth=1, max_pages=100, session=True)
        session_id, summary = crawled["session_id"], crawled["summary"]
        enough = summary["total_chunks"] >= 50
        print(f"crawled: {crawled['status']}, 50 chunks or more: {enough}")

        info = await call("get_session_info", session_id=session_id)
        print(f"came from the site: {info['source_url'] == site}")

        first = await call("get_session_chunk", session_id=session_id, chunk_index=0)
        print(f"chunk 0: {first['text'].strip().splitlines()[0]}")

        found = await call("search_session", session_id=session_id, query=QUESTION)
        cited = found["items"][0]
        index = cited["chunk_index"]
        best = await call("get_session_chunk", session_id=session_id, chunk_index=index)
        sentence = next(line for line in best["text"].splitlines() if "daughter" in line)
        print(f"question: {QUESTION}")
        print(f"answer: {sentence.split('. ')[1]} [{cited['title']}]")
        print(f"cites the page: {cited['source_url'] == f'{site}letters/41'}")


if __name__ == "__main__":
    with served() as archive:
        asyncio.run(walk(sys.argv[1], archive))
