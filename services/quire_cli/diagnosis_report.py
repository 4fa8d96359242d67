"""What the doctor found, as text for people and as JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from quire_cli.configured import DEFAULT
from quire_cli.diagnosis import Diagnosis


def as_text(found: Diagnosis) -> str:
    """Settings first, so that what needs attention stands at the end."""
    return "\n".join(_lines(found))


def as_json(found: Diagnosis) -> str:
    """One object: `healthy`, `machine`, `settings[]`, `checks[]`."""
    return json.dumps({"healthy": found.healthy, **asdict(found)}, indent=2)


def _lines(found: Diagnosis) -> Iterator[str]:
    yield "This machine"
    for name, value in found.machine.items():
        yield f"  {name:<10}{value}"
    if found.settings:
        yield "Settings"
    width = max((len(setting.variable) for setting in found.settings), default=0)
    for setting in found.settings:
        value = "(unset)" if setting.value is None else str(setting.value)
        source = "" if setting.source == DEFAULT else f"  from {setting.source}"
        yield f"  {setting.variable:<{width}}  {value}{source}"
    yield "Parts"
    for check in found.checks:
        yield f"  {'ok    ' if check.ok else 'FAILED'}  {check.name:<12}{check.message}"
        if check.recovery:
            yield f"          {'':<12}{check.recovery}"
    yield "All is well." if found.healthy else "Something needs attention."
