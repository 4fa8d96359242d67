"""How a failure is kept: as JSON in the job and in its steps, and as an error again on replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quire.errors import QuireError
from quire.jobs.plain import plain


class JobFailed(QuireError):
    """The job failed because of a fault in Quire; the log has the particulars."""

    recovery = "Submit the job again; if it happens again, report it with the job's id."


class UnknownJobKind(QuireError):
    """This version of Quire does not know jobs of that kind."""

    code = "unknown_job_kind"
    recovery = "Run every worker in the version that submitted the job, and submit it again."


class JobChanged(QuireError):
    """The job was begun by a version of Quire that does it in other steps."""

    code = "job_changed"
    recovery = "Submit the job again."


class CrashedTooOften(QuireError):
    """The process died each time that it ran the job, so it was given up."""

    code = "crashed_too_often"
    recovery = "Look for what kills the process (memory?) in its log, then submit the job again."


class JobCancelled(BaseException):
    """Somebody asked for the job to be cancelled; no handler may catch this."""


class Parked(BaseException):
    """The job has to stop here and goes on elsewhere or later; no handler may catch this."""


def describe(error: QuireError) -> dict[str, Any]:
    """The error as JSON, as a job shows it."""
    told: dict[str, Any] = {
        "code": error.code,
        "message": _storable(error.message),
        "recovery": _storable(error.recovery),
    }
    if error.details:
        try:
            told["details"] = plain(dict(error.details))
        except ValueError:
            told["details"] = {key: _storable(repr(it)) for key, it in error.details.items()}
    return told


def revive(told: Mapping[str, Any]) -> QuireError:
    """The error of that code again, so that a handler may catch it after a crash as before."""
    kinds: list[type[QuireError]] = [JobFailed, *_family(QuireError)]
    kind = next((it for it in kinds if it.code == told["code"]), JobFailed)
    message, recovery, details = told["message"], told["recovery"], told.get("details", {})
    try:
        return kind(message, recovery=recovery, **details)
    except TypeError:
        # Its constructor wants what nobody kept.
        error = kind.__new__(kind)
        QuireError.__init__(error, message, recovery=recovery)
        error.details = details
        return error


def _family(kind: type[QuireError]) -> Iterator[type[QuireError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _family(child)


def _storable(text: str) -> str:
    return text.replace("\0", "").encode(errors="replace").decode()
