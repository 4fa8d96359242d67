"""Invocations of tools, as values: what is told of one, and what is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from quire.errors import InvalidInput


class InvocationStatus(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self is not InvocationStatus.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvocation:
    """What a client tells of an invocation; what is None is not told.

    Of start, end and duration two are enough. Of input and output only the digests are kept.
    """

    tool: str
    id: str | None = None
    status: InvocationStatus | None = None
    """Not told: failed where there is an error, else succeeded."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: float | None = None
    input_sha256: str | None = None
    output_sha256: str | None = None
    attachments: Sequence[str] | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    error: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One use of a tool within a session."""

    session_id: str
    id: str
    tool: str
    status: InvocationStatus
    started_at: datetime
    finished_at: datetime | None = None
    duration_ms: float | None = None
    """Unknown where only the end was told of."""
    input_sha256: str | None = None
    output_sha256: str | None = None
    attachments: tuple[str, ...] = ()
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    error: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    author: str | None = None
    created_at: datetime
    seq: int = 0
    """Where it stands among all invocations of this server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationFilter:
    """All that is given must hold; times are those at which invocations started."""

    tool: str | None = None
    status: InvocationStatus | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class InvocationPage:
    invocations: Sequence[Invocation]
    next_cursor: str | None


def digest(field: str, value: Any) -> str:
    """The sha256 of a value as canonical JSON: keys sorted, no spaces, UTF-8."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput(
            f"{field} is not JSON: it holds NaN, infinity or a lone surrogate, or is nested "
            "without measure",
            field=field,
        ) from None
