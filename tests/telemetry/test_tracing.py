"""Spans reach a collector when one is configured, and cost nothing when none is."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from quire.errors import CollectionNotFound, ConfigurationError
from quire.settings import TracingSettings
from quire.telemetry.engine import MeasuredEngine
from quire.telemetry.metrics import Metrics
from quire.telemetry.tracing import Tracing, configure_tracing
from tests.telemetry.test_engine import FakeEngine

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector:
    """An OTLP/HTTP collector that keeps what it gets."""

    def __init__(self) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.hangs = False
        self.released = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1])
                for line in head.splitlines()
                if line.lower().startswith("content-length")
            )
            body = await reader.readexactly(length)
            self.paths.append(head.split(" ")[1])
            self.requests.append(ExportTraceServiceRequest.FromString(body))
            if self.hangs:
                await self.released.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the exporter went away
        finally:
            writer.close()

    @property
    def spans(self) -> dict[str, Any]:
        return {
            span.name: span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    server = await asyncio.start_server(collector.answer, "127.0.0.1", 0)
    collector.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield collector
    finally:
        collector.released.set()
        server.close()
        await server.wait_closed()


def attributes(span: Any) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes
    }


class TestOn:
    async def test_spans_reach_the_collector_with_names_attributes_and_nesting(self) -> None:
        async with collecting() as collector:
            tracing = configure_tracing(TracingSettings(endpoint=collector.url))
            assert tracing.enabled
            with tracing.span("outer", kind="server", **{"http.route": "/sessions"}) as outer:
                outer.set(**{"http.response.status_code": 200})
                with tracing.span("inner", points=3):
                    await asyncio.sleep(0.01)
                tracing.record("recorded", seconds=1.5)
            await tracing.close()
        assert collector.paths == ["/v1/traces"]
        outer_span, inner = collector.spans["outer"], collector.spans["inner"]
        assert attributes(outer_span) == {
            "http.route": "/sessions",
            "http.response.status_code": 200,
        }
        assert attributes(inner) == {"points": 3}
        assert inner.parent_span_id == outer_span.span_id
        assert inner.trace_id == outer_span.trace_id
        assert inner.end_time_unix_nano - inner.start_time_unix_nano >= 9_000_000
        assert not outer_span.parent_span_id
        recorded = collector.spans["recorded"]
        assert recorded.parent_span_id == outer_span.span_id
        assert recorded.end_time_unix_nano - recorded.start_time_unix_nano == 1_500_000_000
        resource = attributes(collector.requests[0].resource_spans[0].resource)
        assert resource["service.name"] == "quire"
        assert resource["service.version"]

    async def test_an_endpoint_with_the_path_is_taken_as_it_is(self) -> None:
        async with collecting() as collector:
            tracing = configure_tracing(TracingSettings(endpoint=f"{collector.url}/v1/traces"))
            with tracing.span("x"):
                pass
            await tracing.close()
        assert collector.paths == ["/v1/traces"]

    @pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
    async def test_the_callers_trace_is_continued(self, name: str) -> None:
        async with collecting() as collector:
            tracing = configure_tracing(TracingSettings(endpoint=collector.url))
            parent = tracing.extract({name: f"00-{TRACE}-{PARENT}-01"})
            with tracing.span("request", parent=parent), tracing.span("inner"):
                pass
            await tracing.close()
        assert collector.spans["request"].trace_id.hex() == TRACE
        assert collector.spans["request"].parent_span_id.hex() == PARENT
        assert collector.spans["inner"].trace_id.hex() == TRACE

    async def test_a_caller_who_does_not_sample_is_respected(self) -> None:
        async with collecting() as collector:
            tracing = configure_tracing(TracingSettings(endpoint=collector.url))
            with tracing.span(
                "x", parent=tracing.extract({"traceparent": f"00-{TRACE}-{PARENT}-00"})
            ):
                pass
            await tracing.close()
        assert not collector.spans

    @pytest.mark.parametrize("value", ["", "x", "00-" + "0" * 32 + f"-{PARENT}-01", "é" * 99])
    async def test_a_broken_traceparent_starts_a_trace_of_its_own(self, value: str) -> None:
        async with collecting() as collector:
            tracing = configure_tracing(TracingSettings(endpoint=collector.url))
            with tracing.span("x", parent=tracing.extract({"traceparent": value})):
                pass
            assert tracing.extract({}) is None
            await tracing.close()
        assert not collector.spans["x"].parent_span_id

    async def test_an_error_marks_the_span_without_telling_its_text(self) -> None:
        async with collecting() as collector:
            tracing = configure_tracing(TracingSettings(endpoint=collector.url))
            with pytest.raises(CollectionNotFound), tracing.span("ours"):
                raise CollectionNotFound("a private name")
            with pytest.raises(ZeroDivisionError), tracing.span("other"):
                _ = 1 / 0
            await tracing.close()
        assert collector.spans["ours"].status.code == 2
        assert attributes(collector.spans["ours"]) == {"error.type": "collection_not_found"}
        assert attributes(collector.spans["other"]) == {"error.type": "ZeroDivisionError"}
        assert "private" not in str(collector.requests)

    async def test_several_live_in_one_process_and_nothing_is_global(self) -> None:
        before = trace.get_tracer_provider()
        async with collecting() as one, collecting() as two:
            first = configure_tracing(TracingSettings(endpoint=one.url))
            second = configure_tracing(TracingSettings(endpoint=two.url))
            with first.span("first"):
                pass
            with second.span("second"):
                pass
            await first.close()
            await second.close()
        assert set(one.spans) == {"first"}
        assert set(two.spans) == {"second"}
        assert trace.get_tracer_provider() is before

    async def test_closing_waits_no_longer_than_it_may(self) -> None:
        async with collecting() as collector:
            collector.hangs = True
            tracing = configure_tracing(TracingSettings(endpoint=collector.url))
            with tracing.span("x"):
                pass
            started = time.monotonic()
            await tracing.close(timeout_seconds=0.3)
            assert time.monotonic() - started < 2
            await tracing.close()

    async def test_the_engines_operations_become_spans(self) -> None:
        async with collecting() as collector:
            tracing = configure_tracing(TracingSettings(endpoint=collector.url))
            engine: Any = MeasuredEngine(FakeEngine(), Metrics(), tracing)
            with tracing.span("request"):
                await engine.upsert("c", [1, 2, 3])
                assert [name async for name in engine.collections()]
            await tracing.close()
        upsert = collector.spans["fake upsert"]
        assert upsert.parent_span_id == collector.spans["request"].span_id
        assert attributes(upsert) == {
            "db.system.name": "qdrant",
            "db.operation.name": "upsert",
            "db.collection.name": "c",
            "quire.points": 3,
        }
        assert "fake collections" in collector.spans


class TestOff:
    async def test_without_an_endpoint_nothing_is_done_and_errors_pass(self) -> None:
        tracing = configure_tracing(TracingSettings())
        assert type(tracing) is Tracing
        assert not tracing.enabled
        parent = tracing.extract({"traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert parent is None
        with tracing.span("x", parent=parent, kind="server", points=1) as span:
            span.set(points=2)
        tracing.record("x", seconds=1)
        with pytest.raises(ZeroDivisionError), tracing.span("x"):
            _ = 1 / 0
        await tracing.close()

    def test_it_costs_next_to_nothing(self) -> None:
        tracing = configure_tracing(TracingSettings())
        started = time.perf_counter()
        for _ in range(20_000):
            with tracing.span("x", points=1):
                pass
        assert (time.perf_counter() - started) / 20_000 < 10e-6

    def test_opentelemetry_is_not_even_imported(self) -> None:
        program = (
            "import sys\n"
            "from quire.settings import TracingSettings\n"
            "from quire.telemetry.tracing import configure_tracing\n"
            "import quire.telemetry.engine\n"
            "configure_tracing(TracingSettings())\n"
            "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True)

    def test_without_the_extra_the_error_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "quire.telemetry.otlp", raising=False)
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
        with pytest.raises(ConfigurationError, match="QUIRE_TRACING_ENDPOINT") as caught:
            configure_tracing(TracingSettings(endpoint="http://127.0.0.1:4318"))
        assert "quire[tracing]" in caught.value.recovery
