"""What a process that is going to be killed, and the one that comes after, both run with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.settings import LogSettings, Settings, WebSettings
from tests.content.house import FAKE
from tests.sessions.house import settings_for

if TYPE_CHECKING:
    from pathlib import Path


def settings_of(directory: Path, allow: str) -> Settings:
    return settings_for(
        directory,
        embedding=FAKE,
        web=WebSettings(allow=allow, delay_seconds=0),
        log=LogSettings(level="error"),
    )
