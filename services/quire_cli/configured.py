"""The settings in force, where each value came from, and no secret among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from quire.settings import PREFIX, Settings
from quire.telemetry.redaction import redact_text

HIDDEN = "********"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ConfiguredSetting:
    """One setting: `value` as it may be shown, `source` a variable or `default`."""

    variable: str
    value: str | int | float | bool | None
    source: str


def settings_in_force(settings: Settings) -> list[ConfiguredSetting]:
    """Every setting, in the order of the documentation."""
    return [
        ConfiguredSetting(variable, _shown(value), _source(variable))
        for variable, value in _values(settings)
    ]


def _values(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            for inner in type(value).model_fields:
                yield f"{PREFIX}{name}_{inner}".upper(), getattr(value, inner)
        else:
            yield f"{PREFIX}{name}".upper(), value


def _shown(value: Any) -> str | int | float | bool | None:
    if isinstance(value, SecretStr):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))


def _source(variable: str) -> str:
    if os.environ.get(variable):  # an empty variable counts as unset
        return variable
    if variable == "QUIRE_QDRANT_URL" and os.environ.get("QDRANT_HOST"):
        return "QDRANT_HOST"
    return DEFAULT
