"""What a client tells of an invocation: checked, and put together with what is known of it."""

from __future__ import annotations

import math
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from quire.activity.attachment_models import NAME_CHARS
from quire.activity.invocation_models import Invocation, InvocationStatus, NewInvocation
from quire.activity.names import client_id, path_name
from quire.errors import Conflict, InvalidInput
from quire.sessions import validation
from quire.settings import LimitSettings

ATTACHMENTS_MAX = 100
ERROR_CHARS = 20_000
TOKENS_MAX = 2**53
COST_MAX = 1e12
DURATION_MAX_MS = 10 * 365 * 86_400_000.0
# Durations are measured with another clock than start and end.
TOLERANCE_MS = 1_000.0
SHA256 = re.compile(r"[0-9a-f]{64}")
MILLISECOND = timedelta(milliseconds=1)

FIELDS = (
    "input_sha256",
    "output_sha256",
    "attachments",
    "tokens_in",
    "tokens_out",
    "cost",
    "error",
    "metadata",
)
"""Which of what is told stands as it is told."""


def checked(new: NewInvocation, limits: LimitSettings) -> NewInvocation:
    """The same, or an error that names the field that cannot be."""
    validation.someone("tool", new.tool)
    if new.id is not None:
        client_id("id", new.id)
    for name in ("input_sha256", "output_sha256"):
        value = getattr(new, name)
        if value is not None and not SHA256.fullmatch(value):
            raise InvalidInput(f"{name} must be 64 hexadecimal digits, in lower case", field=name)
    for name, most in (
        ("tokens_in", TOKENS_MAX),
        ("tokens_out", TOKENS_MAX),
        ("cost", COST_MAX),
        ("duration_ms", DURATION_MAX_MS),
    ):
        number = getattr(new, name)
        if number is not None and not (math.isfinite(number) and 0 <= number <= most):
            raise InvalidInput(f"{name} must be between 0 and {most:g}", field=name)
    _check_error(new.error)
    names = new.attachments or ()
    if len(names) > ATTACHMENTS_MAX:
        raise InvalidInput(
            f"{len(names)} attachments are more than the {ATTACHMENTS_MAX} that one invocation "
            "may have",
            field="attachments",
        )
    for position, name in enumerate(names):
        path_name(f"attachments[{position}]", name, NAME_CHARS)
    return replace(
        new,
        started_at=_in_utc("started_at", new.started_at),
        finished_at=_in_utc("finished_at", new.finished_at),
        attachments=None if new.attachments is None else tuple(dict.fromkeys(names)),
        metadata=None
        if new.metadata is None
        else validation.json_object("metadata", new.metadata, limits),
    )


def begun(new: NewInvocation, session_id: str, author: str | None, at: datetime) -> Invocation:
    """An invocation of which nothing was known."""
    status = _status(new)
    started_at, finished_at, duration_ms = _times(new, None, status, at)
    return Invocation(
        session_id=session_id,
        id=new.id or str(uuid.uuid4()),
        tool=new.tool,
        status=status,
        started_at=started_at,
        finished_at=finished_at,
        duration_ms=duration_ms,
        author=author,
        created_at=at,
        **_given(new),
    )


def continued(new: NewInvocation, known: Invocation, at: datetime) -> Invocation:
    """What is known, with what is told now; what is over takes nothing but its repetition."""
    if new.tool != known.tool:
        raise Conflict(
            f"Invocation {known.id} is one of {known.tool}, not of {new.tool}",
            recovery="Choose another id, or leave it out to be given one.",
            field="tool",
        )
    if known.status.is_final:
        _require_repetition(new, known)
        return known
    status = _status(new)
    started_at, finished_at, duration_ms = _times(new, known.started_at, status, at)
    return replace(
        known,
        status=status,
        started_at=started_at,
        finished_at=finished_at,
        duration_ms=duration_ms,
        **_given(new),
    )


def _require_repetition(new: NewInvocation, known: Invocation) -> None:
    told = _given(new) | {
        name: value
        for name in ("status", "started_at", "finished_at", "duration_ms")
        if (value := getattr(new, name)) is not None
    }
    differing = [name for name, value in told.items() if getattr(known, name) != value]
    if differing:
        raise Conflict(
            f"Invocation {known.id} is over ({known.status}) and does not change; "
            f"told otherwise now: {', '.join(differing)}",
            recovery="Record another invocation, under another id.",
            fields=differing,
        )


def _given(new: NewInvocation) -> dict[str, Any]:
    return {name: value for name in FIELDS if (value := getattr(new, name)) is not None}


def _status(new: NewInvocation) -> InvocationStatus:
    if new.status is not None:
        return new.status
    return InvocationStatus.SUCCEEDED if new.error is None else InvocationStatus.FAILED


def _times(
    new: NewInvocation, started: datetime | None, status: InvocationStatus, at: datetime
) -> tuple[datetime, datetime | None, float | None]:
    """Start, end and duration: what was not told follows from the rest."""
    started = new.started_at or started
    finished, duration = new.finished_at, new.duration_ms
    if not status.is_final:
        for name in ("finished_at", "duration_ms"):
            if getattr(new, name) is not None:
                raise InvalidInput(f"What is running has no {name} yet", field=name)
        return started or at, None, None
    try:
        if finished is None and started is not None and duration is not None:
            finished = started + duration * MILLISECOND
        finished = finished or at
        if started is None:
            # Only the end is known, unless it was told how long it took.
            return finished - (duration or 0.0) * MILLISECOND, finished, duration
    except OverflowError:
        raise InvalidInput("duration_ms leads out of the calendar", field="duration_ms") from None
    elapsed = (finished - started) / MILLISECOND
    if elapsed < 0:
        field = "started_at" if new.finished_at is None else "finished_at"
        raise InvalidInput(
            f"It would have finished at {finished.isoformat()}, before it started at "
            f"{started.isoformat()}",
            field=field,
        )
    if duration is not None and abs(elapsed - duration) > TOLERANCE_MS:
        raise InvalidInput(
            f"From started_at to finished_at are {elapsed:.0f} ms, but duration_ms says "
            f"{duration:g}; tell two of the three",
            field="duration_ms",
        )
    return started, finished, elapsed if duration is None else duration


def _check_error(error: str | None) -> None:
    if error is None:
        return
    if len(error) > ERROR_CHARS:
        raise InvalidInput(
            f"error has {len(error)} characters; {ERROR_CHARS} are enough", field="error"
        )
    if "\x00" in error or any("\ud800" <= c <= "\udfff" for c in error):
        raise InvalidInput("error must not hold NUL or lone surrogates", field="error")


def _in_utc(field: str, moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidInput(f"{field} needs a time zone, like 2030-01-31T12:00:00Z", field=field)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{field} is out of the calendar", field=field) from None
