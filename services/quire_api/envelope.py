"""What surrounds every request: its id, its log line, its time, and errors nobody caught."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quire.app import Quire
from quire.errors import QuireError
from quire.telemetry.tracing import Span
from quire_api.problems import problem_response

log = structlog.get_logger(__name__)

ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
QUIET = frozenset({"/healthz", "/readyz", "/health", "/metrics"})


class Envelope:
    """Outermost of ours: no stack trace and no unmeasured request gets past it."""

    def __init__(self, app: ASGIApp, quire: Quire) -> None:
        self._app = app
        self._quire = quire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        status = 500
        begun = False
        started = time.perf_counter()
        answered: float | None = None

        async def sending(message: Message) -> None:
            nonlocal status, begun, answered
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                if _is_endless(message):
                    answered = time.perf_counter()
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if self._quire.tracing.enabled:
                    with self._span(scope) as span:
                        await self._app(scope, receive, sending)
                        span.set(**{"http.response.status_code": status})
                else:
                    await self._app(scope, receive, sending)
            except Exception as error:  # the outermost boundary: logged whole, told in brief
                mapped = error if isinstance(error, QuireError) else QuireError()
                if mapped is not error:
                    log.exception("request failed", path=scope["path"])
                if begun:
                    raise  # the answer is under way; cutting it off is all that is left to say
                await problem_response(mapped, request_id)(scope, receive, sending)
            finally:
                self._record(scope, status, (answered or time.perf_counter()) - started)

    def _span(self, scope: Scope) -> Span:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        return self._quire.tracing.span(
            f"{scope['method']} {scope['path']}",
            parent=self._quire.tracing.extract(headers),
            kind="server",
        )

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        template = getattr(scope.get("route"), "path", None)
        self._quire.metrics.observe_request(scope["method"], template, status, seconds)
        if scope["path"] not in QUIET:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(seconds * 1000, 1),
            )


def _is_endless(start: Message) -> bool:
    """How long a stream of events stays open says nothing of how fast it was answered."""
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", ())
    )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and ACCEPTED_ID.fullmatch(value):
            return str(value.decode())
    return uuid.uuid4().hex[:16]
