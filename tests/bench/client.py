"""A session of a server, as a client fills and reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from quire.access.principal import Scope
from tests.bench.serving import Served
from tests.bench.sessions import token

POLL_SECONDS = 0.05


def headers() -> dict[str, str]:
    """Of somebody who may do everything."""
    return {"Authorization": f"Bearer {token('operator', Scope.ADMIN)}"}


@contextmanager
def connected(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers=headers(), timeout=600) as client:
        yield client


@dataclass(frozen=True)
class Session:
    client: httpx.Client
    id: str

    @classmethod
    def made(cls, client: httpx.Client) -> Session:
        answer = client.post("/sessions", json={"name": "measured"}).raise_for_status()
        return cls(client, answer.json()["id"])

    def ingest(self, document_id: str, content: str | Iterator[bytes]) -> int:
        """Upload a document, wait until it can be found, and answer how many chunks it has."""
        job_id = self.begin(document_id, content, wait=300)
        while (job := self.job(job_id))["status"] in ("queued", "running"):
            time.sleep(POLL_SECONDS)
        if job["status"] != "succeeded" or job["result"]["failed"]:
            raise RuntimeError(str(job))
        chunks: int = job["result"]["chunks"]
        return chunks

    def begin(self, document_id: str, content: str | Iterator[bytes], wait: int = 0) -> str:
        """Upload a document, and wait so many seconds for its job; answers the job's id."""
        answer = self.client.put(
            f"/sessions/{self.id}/documents/{document_id}/content",
            content=content,
            headers={"Content-Type": "text/plain", "Prefer": f"wait={wait}"},
        ).raise_for_status()
        job_id: str = answer.json()["job_id"]
        return job_id

    def job(self, job_id: str) -> Any:
        return self.client.get(f"/jobs/{job_id}").raise_for_status().json()

    def cancel(self, job_id: str) -> None:
        self.client.post(f"/jobs/{job_id}/cancel").raise_for_status()
        while self.job(job_id)["status"] in ("queued", "running"):
            time.sleep(POLL_SECONDS)

    def chunks(self) -> list[str]:
        """The text of each."""
        lines = self.client.get(f"/sessions/{self.id}/stream").raise_for_status().content
        return [orjson.loads(line)["text"] for line in lines.splitlines()]

    def finds(self, vector: list[float], limit: int, *, exact: bool) -> set[Any]:
        """The ids of what is nearest to a vector."""
        answer = self.client.post(
            f"/sessions/{self.id}/search",
            json={
                "vector": vector,
                "mode": "dense",
                "limit": limit,
                "page_size": limit,
                "exact": exact,
            },
        ).raise_for_status()
        return {item["id"] for item in answer.json()["items"]}
