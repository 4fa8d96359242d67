"""Health and metrics."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from quire_api.http import TheQuire, json_response
from quire_api.problems import problem_responses

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    status: str
    service: str


class ReadinessShape(BaseModel):
    ready: bool
    parts: dict[str, str]
    failures: dict[str, str]


class Root(BaseModel):
    service: str
    version: str
    status: str
    documentation: str


@router.get("/", response_model=Root, responses=problem_responses(401))
async def root() -> Response:
    """What this is, in which version, and where its documentation is."""
    return json_response(
        {
            "service": "quire",
            "version": version("quire"),
            "status": "running",
            "documentation": "/docs",
        }
    )


@router.get("/healthz", response_model=Health)
@router.get("/health", response_model=Health, include_in_schema=False)
async def health() -> Response:
    """The process is alive and answers; it asks nobody else."""
    return json_response({"status": "healthy", "service": "quire"})


@router.get(
    "/readyz",
    response_model=ReadinessShape,
    responses={503: {"model": ReadinessShape, "description": "a part does not answer"}},
)
async def ready(quire: TheQuire) -> Response:
    """Every part that a request may need answers, and the database is migrated."""
    readiness = await quire.ready()
    # No token is asked for here: where others can ask, versions and places are not for them.
    in_detail = quire.verifier is None
    return json_response(
        {
            "ready": readiness.is_ready,
            "parts": {name: told if in_detail else "ok" for name, told in readiness.parts.items()},
            "failures": readiness.failures,
        },
        200 if readiness.is_ready else 503,
        {} if readiness.is_ready else {"Retry-After": "2"},
    )


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=problem_responses(401, 503),
)
async def metrics(quire: TheQuire) -> Response:
    """Prometheus metrics."""
    await quire.refresh_metrics()
    return Response(quire.metrics.render(), media_type=quire.metrics.content_type)
