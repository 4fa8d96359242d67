"""The HTTP service in this process, and callers of it."""

from __future__ import annotations

import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt

from quire.app import Quire
from quire.settings import AuthSettings, JobSettings, RetentionSettings, Settings
from quire_api.app import create_app
from tests.store.template import migrated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

SECRET = "a-secret-that-only-these-tests-know-of, and long enough for HS512"
FAR = {"sweep_seconds": 3600.0}  # so that only what a test sweeps is swept

ROOT = Path(__file__).parents[2]


@dataclass
class Service:
    """A running service; `client` is on this machine, or `as_` someone with a token."""

    app: FastAPI
    client: httpx.AsyncClient
    quire: Quire

    def as_(self, subject: str, *groups: str, scope: str = "write", **more: Any) -> Caller:
        bearer = f"Bearer {token(subject, *groups, scope=scope, **more)}"
        return Caller(self.client, {"Authorization": bearer})


@dataclass
class Caller:
    """Someone with a token."""

    client: httpx.AsyncClient
    headers: dict[str, str]

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        if json is not None:
            options["json"] = json
        return await self.request("POST", path, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        if json is not None:
            options["json"] = json
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, json: Any, **options: Any) -> httpx.Response:
        return await self.request("PATCH", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("DELETE", path, **options)


def token(
    subject: str,
    *groups: str,
    scope: str = "write",
    secret: str = SECRET,
    algorithm: str = "HS256",
    lifetime: float = 600,
    **more: Any,
) -> str:
    issued = int(time.time())
    claims = {"sub": subject, "groups": list(groups), "scope": scope, "iat": issued}
    claims |= {"exp": issued + lifetime, **more}
    return jwt.encode(claims, secret, algorithm=algorithm)


def settings_for(directory: Path, **more: Any) -> Settings:
    """Settings of an embedded Quire, independent of this process's environment."""
    defaults: dict[str, Any] = {
        "jobs": JobSettings(poll_seconds=0.05, lease_seconds=1, grace_seconds=5),
        "retention": RetentionSettings(**FAR),
    }
    return Settings(data_dir=directory, **{**defaults, **more})


def guarded(directory: Path, **more: Any) -> Settings:
    return settings_for(directory, auth=AuthSettings(secret=SECRET), **more)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Service]:
    """The service, started and, at the end of the block, stopped."""
    if settings.database.url is None:
        migrated(settings.data_dir)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Service(app, client, app.state.quire)


def new_id(prefix: str = "s") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def assert_problem(
    response: httpx.Response, status: int, code: str | None = None, *, about: str | None = None
) -> dict[str, Any]:
    """Every error says the same seven things, and nothing of the inside."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:quire:problem:{problem['code']}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["recovery"]
    assert problem["request_id"] == response.headers["x-request-id"]
    if code is not None:
        assert problem["code"] == code
    if about is not None:
        assert problem["field"] == about, problem
    for inside in ("Traceback", 'File "', "site-packages", str(ROOT), "sqlalchemy", "sqlite3."):
        assert inside not in response.text
    return problem
