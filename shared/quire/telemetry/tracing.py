"""Traces: spans sent to an OpenTelemetry collector where one is configured, else nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from quire.errors import ConfigurationError
from quire.settings import TracingSettings

AttributeValue = str | bool | int | float
SpanKind = Literal["internal", "server", "client"]
Parent = Any
"""Where a trace comes from: what `Tracing.extract` gives, of interest to nobody else."""


class Span(Protocol):
    """One timed piece of work, a context manager. What is raised within marks it as failed."""

    def set(self, **attributes: AttributeValue) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Tracing:
    """Tracing that is off: every span is the same one, which does nothing."""

    enabled: bool = False

    def span(
        self,
        name: str,
        /,
        *,
        parent: Parent = None,
        kind: SpanKind = "internal",
        **attributes: AttributeValue,
    ) -> Span:
        """A span around a `with` block, a child of the one around it, or of `parent`."""
        return _NO_SPAN

    def record(self, name: str, /, *, seconds: float, **attributes: AttributeValue) -> None:
        """A span of that length which ends now, where no `with` block can be around the work."""

    def extract(self, headers: Mapping[str, str]) -> Parent:
        """The parent that a request's W3C `traceparent` names; None where there is none."""
        return None

    async def close(self, timeout_seconds: float = 5.0) -> None:
        """Send what is left, waiting no longer than this."""


class _NoSpan:
    __slots__ = ()

    def set(self, **attributes: AttributeValue) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


_NO_SPAN = _NoSpan()


def configure_tracing(settings: TracingSettings) -> Tracing:
    """Tracing as the settings have it; its owner closes it."""
    if settings.endpoint is None:
        return Tracing()
    try:
        from quire.telemetry.otlp import OtlpTracing  # noqa: PLC0415 - needs the extra
    except ImportError as error:
        raise ConfigurationError(
            "QUIRE_TRACING_ENDPOINT is set, but OpenTelemetry is not installed",
            recovery="Install it with `pip install 'quire[tracing]'`, or unset the variable.",
        ) from error
    return OtlpTracing(settings.endpoint)
