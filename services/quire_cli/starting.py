"""What every command does first."""

from __future__ import annotations

from typing import Literal

import structlog

from quire.settings import Settings, load_settings
from quire.telemetry.logs import configure_logs

log = structlog.get_logger(__name__)


def start(quietest: Literal["warning", "error"] | None = None) -> Settings:
    """Read the settings and set up the logs; a tool speaks for itself and logs only so much."""
    settings = load_settings()
    asked = settings.log
    if quietest is not None and asked.level != "debug":
        asked = asked.model_copy(update={"level": quietest})
    configure_logs(asked)
    return settings


def announce(settings: Settings, text: str, **facts: str) -> None:
    """Say something once on stdout; as a log line where those who read want JSON alone."""
    if settings.log.format == "json":
        log.info(text.partition("\n")[0], **facts)
    else:
        print(text, flush=True)
