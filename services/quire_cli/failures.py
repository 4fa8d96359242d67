"""How a command fails: what was wrong and what to do next on stderr, and an exit code."""

from __future__ import annotations

import os
import sqlite3
import sys
import traceback

from quire.errors import ConfigurationError, InvalidInput, QuireError

FAILED = 1
WRONG_SETTINGS = 2  # as for wrong arguments
RESTORE = "Restore quire.db from a backup, or set QUIRE_DATA_DIR to another directory."


def tell(error: Exception) -> bool:
    """Put an expected failure in words; False for one that is a defect, whose trace is needed."""
    match error:
        case QuireError():
            _say(error.message, error.recovery)
        case OSError() if error.strerror:
            place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            _say(f"{place}{error.strerror}", "See to that, then run the command again.")
        case _ if isinstance(damage := getattr(error, "orig", None), sqlite3.DatabaseError):
            _say(f"The SQLite database cannot be used: {damage}", RESTORE)
        case _:
            return False
    if os.environ.get("QUIRE_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    return True


def exit_code(error: Exception) -> int:
    """2 where the caller has to change settings or arguments, else 1."""
    return WRONG_SETTINGS if isinstance(error, ConfigurationError | InvalidInput) else FAILED


def _say(message: str, recovery: str) -> None:
    print(f"quire: {message}\n  {recovery}", file=sys.stderr)
