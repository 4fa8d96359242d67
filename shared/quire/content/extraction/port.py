"""What extraction is: a file of some media type in, a file of UTF-8 text out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from quire.content.models import TextKind

WEB_PAGE = "application/vnd.quire.web-page"
WEB_STRUCTURE = "application/vnd.quire.web-structure"
"""A page with the address that it is from: read for its main text, or for how it is built."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was found besides the text, which lies in the target file."""

    kind: TextKind
    characters: int
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Extractor(Protocol):
    async def extract(self, media_type: str, source: Path, target: Path) -> Extracted:
        """Write the source's text to the target; `ExtractionFailed` tells what is wrong with it.

        Runs in a process of its own, under limits of time, memory and output: whatever a file does
        to its parser, it does to that process alone.
        """
        ...

    async def close(self) -> None: ...
