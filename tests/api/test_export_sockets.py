"""An export that breaks off is seen to do so: the connection never ends as if it were whole."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.api.live import live_service


def test_the_connection_breaks_when_the_session_changes(tmp_path: Path) -> None:
    with live_service(tmp_path, QUIRE_EMBEDDING_PROVIDER="fake") as service:
        with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            client.post("/sessions", json={"id": "s", "name": "s"}).raise_for_status()
            document = {"documents": [{"id": "d", "text": "Leaves are sewn. " * 20}]}
            client.post("/sessions/s/documents", json=document).raise_for_status()
            for start in range(0, 800, 100):
                # more than the buffers between the two hold
                points = [
                    {"id": n, "text": "a", "payload": {"x": Random(n).randbytes(20_000).hex()}}
                    for n in range(start, start + 100)
                ]
                put = client.put("/sessions/s/points", json={"points": points})
                put.raise_for_status()
            with client.stream("GET", "/sessions/s/export?format=jsonl") as answer:
                assert answer.status_code == 200
                blocks = answer.iter_raw()
                next(blocks)
                httpx.delete(f"{service.url}/sessions/s/documents/d").raise_for_status()
                time.sleep(0.2)
                with pytest.raises(httpx.RemoteProtocolError):
                    for _ in blocks:
                        pass
        assert "export broken off" in service.log()
        assert "Traceback" not in service.log()
