"""The application as it is served, with routes beside its own to compare with."""

from __future__ import annotations

import time

from fastapi import FastAPI, Request, Response

from quire.app import Quire
from quire.sessions.identity import identity_of
from quire.settings import load_settings
from quire.telemetry.logs import configure_logs
from quire.vectors.bm25 import Bm25
from quire.vectors.port import Query
from quire_api.app import create_app
from quire_api.http import json_response


def bench_app() -> FastAPI:
    settings = load_settings()
    configure_logs(settings.log)
    app = create_app(settings)
    bm25 = Bm25()

    @app.get("/empty")
    async def empty() -> Response:
        return Response(b"{}", media_type="application/json")

    @app.post("/parts")
    async def parts_of_a_search(request: Request) -> Response:
        """What a search cannot do without, by itself: the question's vector, the engine's part."""
        asked = await request.json()
        quire: Quire = request.app.state.quire
        session = await quire.repository.get(asked["session_id"])
        assert session is not None
        embedder = await quire.embedders.of(identity_of(session.embedding))
        started = time.perf_counter()
        dense = await embedder.query(asked["query"])
        embedded = time.perf_counter()
        query = Query(dense=dense, sparse=bm25.query(asked["query"]), limit=10)
        asking = time.perf_counter()
        await quire.engine.query(session.collection, query)
        found = time.perf_counter()
        return json_response(
            {"embedding": (embedded - started) * 1000, "engine": (found - asking) * 1000}
        )

    return app
