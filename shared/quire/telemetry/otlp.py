"""Spans through OpenTelemetry to an OTLP/HTTP collector. Imported only when tracing is on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Self

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from quire.errors import QuireError
from quire.telemetry.build import version
from quire.telemetry.tracing import AttributeValue, Parent, Span, SpanKind, Tracing

_EXPORT_SECONDS = 5.0
_PATH = "/v1/traces"
_KINDS: Mapping[SpanKind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
}

log = structlog.get_logger(__name__)


class OtlpTracing(Tracing):
    """Tracing that is on, with a provider of its own: nothing global is touched.

    Sampling and resource attributes may be set with OpenTelemetry's own variables
    (`OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`).
    """

    enabled = True

    def __init__(self, endpoint: str) -> None:
        base = endpoint.rstrip("/")
        exporter = OTLPSpanExporter(
            endpoint=base if base.endswith(_PATH) else base + _PATH, timeout=_EXPORT_SECONDS
        )
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "quire", "service.version": version()}),
            shutdown_on_exit=False,  # `close` does it, in bounded time
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("quire")
        self._propagator = TraceContextTextMapPropagator()
        self._closed = False

    def span(
        self,
        name: str,
        /,
        *,
        parent: Parent = None,
        kind: SpanKind = "internal",
        **attributes: AttributeValue,
    ) -> Span:
        return _OtlpSpan(
            self._tracer.start_as_current_span(
                name,
                context=parent,
                kind=_KINDS[kind],
                attributes=attributes,
                record_exception=False,  # its text may hold what only the caller may see
                set_status_on_exception=False,
            )
        )

    def record(self, name: str, /, *, seconds: float, **attributes: AttributeValue) -> None:
        ended = time.time_ns()
        span = self._tracer.start_span(
            name, attributes=attributes, start_time=ended - int(seconds * 1e9)
        )
        span.end(ended)

    def extract(self, headers: Mapping[str, str]) -> Parent:
        carrier = {name.lower(): value for name, value in headers.items()}
        return self._propagator.extract(carrier) if "traceparent" in carrier else None

    async def close(self, timeout_seconds: float = 5.0) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop may be gone by then
                loop.call_soon_threadsafe(done.set)

        # A daemon, not the loop's executor: a collector that hangs must not keep the process.
        threading.Thread(target=shut_down, name="tracing shutdown", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_seconds):
                await done.wait()
        except TimeoutError:
            log.warning("tracing_shutdown_timed_out", seconds=timeout_seconds)


class _OtlpSpan:
    __slots__ = ("_scope", "_span")

    def __init__(self, scope: AbstractContextManager[trace.Span]) -> None:
        self._scope = scope
        self._span: trace.Span = trace.INVALID_SPAN

    def set(self, **attributes: AttributeValue) -> None:
        self._span.set_attributes(attributes)

    def __enter__(self) -> Self:
        self._span = self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            name = error.code if isinstance(error, QuireError) else type(error).__name__
            self._span.set_attribute("error.type", name)
            self._span.set_status(trace.StatusCode.ERROR)
        self._scope.__exit__(kind, error, traceback)
