"""The HTTP application around a running Quire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from quire.app import Part, Quire
from quire.settings import Settings
from quire_api.address import Address
from quire_api.authentication import Authentication
from quire_api.body_limit import BodyLimit
from quire_api.docs import install_docs
from quire_api.envelope import Envelope
from quire_api.idempotency import Idempotency
from quire_api.openapi import complete_openapi
from quire_api.parameters import known_parameters
from quire_api.patience import Patience, install_patience
from quire_api.problems import install_problems
from quire_api.routers import (
    attachments,
    checkpoints,
    chunks,
    clustering,
    context,
    data,
    document_content,
    documents,
    events,
    files,
    invocations,
    jobs,
    lifecycle,
    lineage,
    messages,
    operations,
    points,
    queries,
    residency,
    retention,
    search,
    sessions,
    sharing,
    statistics,
    transfer,
    uploads,
    web,
)
from quire_api.started import Started
from quire_api.tus import MethodOverride
from quire_mcp import PATH as MCP_PATH
from quire_mcp.endpoint import Endpoint

DESCRIPTION = """Vector workspaces on Qdrant: every session owns a collection.

Every error is `application/problem+json` with a stable `code`, what was wrong, and what to do next.
Lists are arrays; the next page is in the `Link` header. `Idempotency-Key` works on every POST.
"""


def create_app(settings: Settings) -> FastAPI:
    """The application; it opens its Quire when it starts and closes it when it stops."""
    settings.require_safe_host()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Quire.open(settings, Part.API) as quire, Endpoint.open(quire) as agents:
            app.state.quire = quire
            app.state.agents = agents
            yield

    app = FastAPI(
        title="Quire",
        version=version("quire"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # ours loads nothing from other people's servers
        redoc_url=None,
        separate_input_output_schemas=False,
        dependencies=[Depends(known_parameters)],
    )
    install_problems(app)
    install_patience(app)
    # Fixed paths under /sessions come before those with an id in them.
    for router in (
        retention,
        statistics,
        transfer,
        files,
        sessions,
        lifecycle,
        invocations,
        data,
        attachments,
        sharing,
        residency,
        documents,
        document_content,
        chunks,
        points,
        search,
        queries,
        clustering,
        checkpoints,
        lineage,
        messages,
        context,
        events,
        uploads,
        web,
        jobs,
        operations,
    ):
        app.include_router(router.router)
    install_docs(app)
    # First, since agents call again and again, and every route before theirs is looked at.
    app.router.routes.insert(0, Route(MCP_PATH, AgentsRoute()))
    app.add_middleware(Layers)
    complete_openapi(app, with_auth=settings.auth.configured)
    return app


class AgentsRoute:
    """`/mcp`, which is there once the Quire is open."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.agents(scope, receive, send)


class Layers:
    """What a request passes on its way to a route, once the Quire is open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._layered: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._layered is None:
            self._layered = self._lay(scope["app"].state.quire)
        await self._layered(scope, receive, send)

    def _lay(self, quire: Quire) -> ASGIApp:
        inner: ASGIApp = Patience(self._app)
        inner = Idempotency(inner, quire.idempotency)
        inner = BodyLimit(inner, quire.settings)
        inner = Address(inner)
        inner = Started(inner, quire)
        inner = Authentication(inner, quire.verifier)
        inner = MethodOverride(inner)
        return Envelope(inner, quire)
