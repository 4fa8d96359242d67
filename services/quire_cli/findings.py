"""What one look at one part found."""

from __future__ import annotations

from dataclasses import dataclass

from quire.errors import QuireError

DEFECT = "Restore what is damaged from a backup; if nothing is, report this as a defect."


@dataclass(frozen=True, slots=True)
class Check:
    """A part, whether it is well, and if not what to do."""

    name: str
    ok: bool
    message: str
    recovery: str | None = None


def passed(name: str, message: str) -> Check:
    """All is well."""
    return Check(name, True, message)


def failed(name: str, error: Exception, recovery: str | None = None) -> Check:
    """What went wrong; `recovery` is for errors that have no hint of their own."""
    if not isinstance(error, QuireError):
        return Check(name, False, _in_words(error), recovery or DEFECT)
    has_own = "recovery" in vars(error) or recovery is None
    return Check(name, False, error.message, error.recovery if has_own else recovery)


def _in_words(error: Exception) -> str:
    # Where a driver's error is wrapped, the driver's own words say it best.
    words = str(getattr(error, "orig", None) or error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
