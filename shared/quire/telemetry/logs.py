"""Structured logs on stderr: text for people, JSON lines for machines, secrets in neither."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import AbstractContextManager
from typing import Any, TextIO

import orjson
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from quire.settings import LogSettings
from quire.telemetry.redaction import redact_fields

# These write at `info` what is of interest to those who work on them.
_TALKATIVE = ("httpx", "httpcore", "botocore", "urllib3", "asyncio", "aiosqlite", "alembic")
# These set handlers and levels of their own, which would write past our format, or not at all.
_SELF_WILLED = ("uvicorn", "uvicorn.error", "uvicorn.access", "dbos", "sqlalchemy", "alembic")
_MANY_LINES = frozenset({"exception", "stack"})


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring again replaces it and leaves others' handlers alone."""


def configure_logs(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Send all logs of this process, structlog's and the standard library's, to one place.

    For services, once, at start: libraries only call `structlog.get_logger(__name__)`. uvicorn is
    to be run with `log_config=None`.
    """
    target = sys.stderr if stream is None else stream
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Loggers of modules may have been used before this runs, and in tests it runs again.
        cache_logger_on_first_use=False,
    )
    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact,
                *_rendering(settings, target),
            ],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _SELF_WILLED:
        _hand_over(logging.getLogger(name))
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def log_context(
    *,
    request_id: str | None = None,
    session_id: str | None = None,
    job_id: str | None = None,
) -> AbstractContextManager[None]:
    """Within it, every log line of this task and those it starts names what it belongs to."""
    given = {"request_id": request_id, "session_id": session_id, "job_id": job_id}
    return bound_contextvars(**{name: value for name, value in given.items() if value is not None})


def _hand_over(logger: logging.Logger) -> None:
    for old in list(logger.handlers):
        logger.removeHandler(old)
    # dbos adds a handler whenever it finds none.
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def _rendering(settings: LogSettings, target: TextIO) -> list[Processor]:
    if settings.format == "json":
        return [structlog.processors.JSONRenderer(serializer=_to_json)]
    return [
        _on_one_line,
        structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return redact_fields(event)


def _on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # A line break or an escape sequence in someone's input must not pass for a line of ours.
    lines = {}
    for name, value in event.items():
        if not isinstance(value, str):
            lines[name] = value
        elif name in _MANY_LINES:
            lines[name] = "\n".join(f"  {_visible(line)}" for line in value.splitlines())
        else:
            lines[_visible(name)] = _visible(value)
    return lines


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def _to_json(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(event, default=repr)
