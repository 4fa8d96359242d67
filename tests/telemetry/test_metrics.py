"""What a scrape gives."""

from __future__ import annotations

import time

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from quire.telemetry.metrics import ExpirationReason, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.render().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def test_requests_are_counted_by_method_route_and_status_class() -> None:
    metrics = Metrics()
    for status in (200, 201, 404):
        metrics.observe_request("GET", "/sessions/{id}", status, 0.02)
    name = "quire_http_request_duration_seconds"
    route = {"method": "GET", "route": "/sessions/{id}"}
    assert value(metrics, f"{name}_count", **route, status="2xx") == 2
    assert value(metrics, f"{name}_count", **route, status="4xx") == 1
    assert value(metrics, f"{name}_sum", **route, status="2xx") == pytest.approx(0.04)
    assert value(metrics, f"{name}_bucket", **route, status="2xx", le="0.025") == 2
    assert value(metrics, f"{name}_bucket", **route, status="2xx", le="0.01") == 0


def test_callers_cannot_make_series() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.observe_request(f"X{number}", None, 404, 0.001)
    counts = [
        count
        for (name, _), count in samples(metrics).items()
        if name == "quire_http_request_duration_seconds_count"
    ]
    assert counts == [100]


def test_engine_operations_are_counted_by_outcome() -> None:
    metrics = Metrics()
    metrics.observe_engine("edge", "query", "ok", 0.001)
    metrics.observe_engine("edge", "query", "unavailable", 0.001)
    name = "quire_engine_operation_duration_seconds_count"
    assert value(metrics, name, engine="edge", operation="query", outcome="ok") == 1
    assert value(metrics, name, engine="edge", operation="query", outcome="unavailable") == 1


def test_expirations_start_at_zero_and_count_by_reason() -> None:
    metrics = Metrics()
    reasons = ["expired", "retention-archived", "retention-deleted", "purged"]
    assert [reason.value for reason in ExpirationReason] == reasons
    for reason in reasons:
        assert value(metrics, "quire_expirations_total", reason=reason) == 0
    metrics.count_expirations(ExpirationReason.EXPIRED)
    metrics.count_expirations(ExpirationReason.PURGED, 5)
    assert value(metrics, "quire_expirations_total", reason="expired") == 1
    assert value(metrics, "quire_expirations_total", reason="purged") == 5


def test_gauges_are_replaced_as_a_whole() -> None:
    metrics = Metrics()
    metrics.set_sessions({("active", "hot"): 3, ("archived", "cold"): 2})
    metrics.set_jobs({("merge", "running"): 1})
    metrics.set_hot_collections(3)
    assert value(metrics, "quire_sessions", status="active", residency="hot") == 3
    assert value(metrics, "quire_jobs", kind="merge", state="running") == 1
    assert value(metrics, "quire_hot_collections") == 3
    metrics.set_sessions({("active", "cold"): 3})
    metrics.set_jobs({})
    metrics.set_hot_collections(None)
    assert value(metrics, "quire_sessions", status="active", residency="hot") is None
    assert value(metrics, "quire_sessions", status="active", residency="cold") == 3
    assert value(metrics, "quire_jobs", kind="merge", state="running") is None
    assert value(metrics, "quire_hot_collections") is None


def test_the_process_and_the_build_are_told() -> None:
    metrics = Metrics()
    memory = value(metrics, "process_resident_memory_bytes")
    assert memory is not None
    assert memory > 1_000_000
    assert value(metrics, "process_cpu_seconds_total") is not None
    [labels] = [dict(labels) for name, labels in samples(metrics) if name == "quire_build_info"]
    assert labels["version"]


def test_several_live_in_one_process_and_nothing_is_global() -> None:
    before = set(REGISTRY._names_to_collectors)
    one, two = Metrics(), Metrics()
    one.observe_request("GET", "/", 200, 0.1)
    assert not any("http_request" in name and labels for name, labels in samples(two))
    assert set(REGISTRY._names_to_collectors) == before


def test_the_format_is_the_one_every_scraper_reads() -> None:
    assert Metrics.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert Metrics().render().endswith(b"\n")


def test_observing_costs_microseconds() -> None:
    metrics = Metrics()
    started = time.perf_counter()
    for _ in range(5000):
        metrics.observe_request("GET", "/sessions/{id}", 200, 0.01)
    assert (time.perf_counter() - started) / 5000 < 50e-6
