"""`quire mcp`: agents on stdin and stdout, over the library or over a server that runs.

Each way is imported when it is chosen: what relays needs nothing of the library, and is there for
every agent.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import os
from urllib.parse import urlsplit

import httpx

from quire.access.principal import LOCAL, Principal
from quire.access.tokens import TokenVerifier
from quire.errors import ConfigurationError, InvalidInput, Unauthenticated
from quire.settings import Settings
from quire_cli.held import ANSWER_SECONDS, holder_of
from quire_cli.serving_address import url_of
from quire_mcp import PATH

TOKEN = "QUIRE_TOKEN"  # noqa: S105 - the name of a variable


async def serve_agent(settings: Settings, url: str | None) -> None:
    """Serve the one agent that started this process, until it closes stdin."""
    token = os.environ.get(TOKEN) or None
    if url is not None:
        await _relay(endpoint_of(url), token)
        return
    here = url_of(settings.host, settings.port)
    holder = holder_of(settings.data_dir) if _keeps_data(settings) else None
    if holder is not None:
        await _require_server(here, holder, settings)
        await _relay(here + PATH, token)
        return
    from quire.app import Part, Quire
    from quire_mcp.stdio import serve_stdio

    principal = await _principal(settings, token)
    async with Quire.open(settings, Part.API) as quire:
        await serve_stdio(quire, principal, here)


async def _relay(endpoint: str, token: str | None) -> None:
    from quire_mcp.relay import relay

    await relay(endpoint, token)


def _keeps_data(settings: Settings) -> bool:
    """Whether anything is in the data directory that one process has to own."""
    return settings.database.url is None or settings.qdrant.url is None


def endpoint_of(url: str) -> str:
    """The server's `/mcp`, whether that is named or the server."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        known = False
    if not known:
        raise InvalidInput(
            f"--url {url!r:.200} is no http or https address",
            recovery="Give the server's, such as --url http://127.0.0.1:8087.",
        )
    return url if parts.path.rstrip("/").endswith(PATH) else url.rstrip("/") + PATH


async def _require_server(url: str, holder: str, settings: Settings) -> None:
    try:
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            (await client.get(f"{url}/healthz")).raise_for_status()
    except (httpx.HTTPError, ValueError):
        raise ConfigurationError(
            f"Process {holder} holds {settings.data_dir}, but no Quire answers at {url}",
            recovery="Run `quire serve`: any number of agents can then use it. If it serves "
            "elsewhere, give --url, or set QUIRE_HOST and QUIRE_PORT as it has them.",
        ) from None


async def _principal(settings: Settings, token: str | None) -> Principal:
    if not settings.auth.configured:
        return LOCAL
    if token is None:
        raise Unauthenticated(
            f"Authentication is configured, and {TOKEN} is not set",
            recovery=f"Set {TOKEN} to a bearer token; `quire token create` makes one.",
        )
    verifier = await TokenVerifier.open(settings.auth)
    try:
        return await verifier.verify(token)
    finally:
        await verifier.close()
