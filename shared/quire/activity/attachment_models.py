"""Attachments as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

NAME_CHARS = 200
"""Of a name at most: it is part of who refers to its blob (`holder_of`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that a session has under a name: a screenshot, a chart, a log."""

    session_id: str
    name: str
    sha256: str
    size: int
    media_type: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    author: str | None = None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'


@dataclass(frozen=True, slots=True)
class AttachmentPage:
    attachments: Sequence[Attachment]
    next_cursor: str | None


def holder_of(name: str) -> str:
    """As which an attachment holds its blob, in the ledger."""
    return f"attachment:{name}"
