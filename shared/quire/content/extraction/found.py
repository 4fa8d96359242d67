"""What an extractor of one format is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quire.content.models import TextKind

Write = Callable[[str], None]
"""Takes the next piece of the text; raises where there is more than is allowed."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a document says of itself besides its text, which went through `Write`."""

    kind: TextKind
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def one_line(text: str | None, longest: int = 500) -> str | None:
    """A title or a name as one line; None where it says nothing."""
    line = " ".join((text or "").split())[:longest].strip()
    return line or None


def said(**values: str | None) -> dict[str, Any]:
    """Metadata of what is said, without what is not."""
    lines = ((name, one_line(value, 2_000)) for name, value in values.items())
    return {name: line for name, line in lines if line is not None}
