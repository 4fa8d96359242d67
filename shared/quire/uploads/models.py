"""What an upload is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file on its way in, or one that has arrived and is not taken over yet."""

    id: str
    owner_id: str | None
    size: int | None  # None while its sender does not know
    received: int
    metadata: Mapping[str, str]
    created_at: datetime
    expires_at: datetime

    @property
    def is_complete(self) -> bool:
        return self.received == self.size


@dataclass(frozen=True, slots=True)
class UploadPage:
    uploads: Sequence[Upload]
    next_cursor: str | None
