"""The application as it is served, with one empty route beside its own to compare with."""

from __future__ import annotations

from fastapi import FastAPI, Response

from quire.settings import load_settings
from quire.telemetry.logs import configure_logs
from quire_api.app import create_app


def bench_app() -> FastAPI:
    settings = load_settings()
    configure_logs(settings.log)
    app = create_app(settings)

    @app.get("/empty")
    async def empty() -> Response:
        return Response(b"{}", media_type="application/json")

    return app
