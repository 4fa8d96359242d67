"""What Prometheus scrapes: one registry for each Quire, so that several live in one process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quire.telemetry.build import version

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_ENGINE_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip


class ExpirationReason(StrEnum):
    """Why a session went, or was put away, without anyone asking."""

    EXPIRED = "expired"
    RETENTION_ARCHIVED = "retention-archived"
    RETENTION_DELETED = "retention-deleted"
    PURGED = "purged"


class ResidencyChange(StrEnum):
    """How a session went cold, or became hot again."""

    CLOSED = "closed"
    PACKED = "packed"
    OPENED = "opened"
    UNPACKED = "unpacked"


_WAKES = (ResidencyChange.OPENED, ResidencyChange.UNPACKED)


class Metrics:
    """Counts and times. Observing takes about a microsecond; gauges are set before a scrape."""

    content_type: ClassVar[str] = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Gauge("quire_build_info", "What runs.", ["version"], registry=self.registry)
        build.labels(version()).set(1)
        self._requests = _Times(
            Histogram(
                "quire_http_request_duration_seconds",
                "Time to answer a request, by route template and status class.",
                ["method", "route", "status"],
                buckets=_REQUEST_BUCKETS,
                registry=self.registry,
            )
        )
        self._operations = _Times(
            Histogram(
                "quire_engine_operation_duration_seconds",
                "Time the vector engine took, by operation and outcome (`ok` or an error code).",
                ["engine", "operation", "outcome"],
                buckets=_ENGINE_BUCKETS,
                registry=self.registry,
            )
        )
        self._expirations = Counter(
            "quire_expirations",
            "Sessions expired, archived or deleted by retention, and purged.",
            ["reason"],
            registry=self.registry,
        )
        for reason in ExpirationReason:
            self._expirations.labels(reason.value)  # a rate needs to have seen the zero
        self._sleeps = Counter(
            "quire_session_sleeps",
            "Sessions that went cold: closed, or packed into the blob store.",
            ["how"],
            registry=self.registry,
        )
        self._wakes = Counter(
            "quire_session_wakes",
            "Sessions that became hot again: opened, or unpacked from the blob store.",
            ["how"],
            registry=self.registry,
        )
        self._wake_times = Histogram(
            "quire_session_wake_duration_seconds",
            "Time from the first use of a cold session until its collection is in the engine.",
            ["how"],
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        for change in ResidencyChange:
            self._changes(change).labels(change.value)
        self._sessions = _Counted(
            "quire_sessions", "Sessions by status and residency.", ("status", "residency")
        )
        self._jobs = _Counted("quire_jobs", "Jobs by kind and state.", ("kind", "state"))
        self._hot = _Counted("quire_hot_collections", "Collections open in this process.", ())
        for gauge in (self._sessions, self._jobs, self._hot):
            self.registry.register(gauge)

    def observe_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Record a request; `route` is the template (`/sessions/{id}`), None where none matched."""
        # What callers make up must not make series.
        method = method if method in _METHODS else "other"
        self._requests.observe((method, route or "unmatched", f"{status // 100}xx"), seconds)

    def observe_engine(self, engine: str, operation: str, outcome: str, seconds: float) -> None:
        """Record one operation of a vector engine; the outcome is `ok` or an error's code."""
        self._operations.observe((engine, operation, outcome), seconds)

    def count_expirations(self, reason: ExpirationReason, count: int = 1) -> None:
        """Record sessions that time or retention took."""
        self._expirations.labels(reason.value).inc(count)

    def count_residency(self, change: ResidencyChange) -> None:
        """Record that a session went cold, or became hot."""
        self._changes(change).labels(change.value).inc()

    def observe_wake(self, change: ResidencyChange, seconds: float) -> None:
        """Record how long a waking took."""
        self._wake_times.labels(change.value).observe(seconds)

    def set_sessions(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Sessions by (status, residency), replacing what was set before."""
        self._sessions.values = dict(counts)

    def set_jobs(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Jobs by (kind, state), replacing what was set before."""
        self._jobs.values = dict(counts)

    def set_hot_collections(self, count: int | None) -> None:
        """Collections open in this process; None where the engine cannot tell."""
        self._hot.values = {} if count is None else {(): count}

    def _changes(self, change: ResidencyChange) -> Counter:
        return self._wakes if change in _WAKES else self._sleeps

    def render(self) -> bytes:
        """All of it in the Prometheus text format, to be sent with `content_type`."""
        return generate_latest(self.registry)


class _Times:
    """A histogram's series by their labels: looking one up in it takes longer than observing."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._series: dict[tuple[str, str, str], Histogram] = {}

    def observe(self, labels: tuple[str, str, str], seconds: float) -> None:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self._histogram.labels(*labels)
        series.observe(seconds)


class _Counted(Collector):
    """A gauge whose series are replaced as a whole, so none outlives what it counted."""

    def __init__(self, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self.values: Mapping[tuple[Any, ...], int] = {}

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
        for labels, count in self.values.items():
            family.add_metric([str(label) for label in labels], count)
        return [family]
