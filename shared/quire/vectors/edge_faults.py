"""What the embedded engine's bare exceptions mean, in Quire's errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from quire.errors import CollectionNotFound, InvalidInput, QuireError, StorageFull, Unavailable

_log = structlog.get_logger(__name__)

_FULL = ("no space left", "os error 28", "disk full", "quota exceeded", "os error 122")
_REFUSED = (
    "no appropriate index",
    "vector dimension error",
    "wrong input",
    "invalid json path",
    "not existing vector name",
)


@contextmanager
def faults(collection: str) -> Iterator[None]:
    """Map whatever the engine raises inside the block; its own words go to the log only."""
    try:
        yield
    except QuireError:
        raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull from error
        if isinstance(error, FileNotFoundError):
            raise _missing(collection) from error
        _log.exception("edge.fault", collection=collection)
        raise Unavailable("The embedded engine cannot use its files.") from error
    except Exception as error:
        raise _mapped(collection, error) from error
    except BaseException as error:
        # A Rust panic is no Exception, and must not end the worker thread.
        if type(error).__name__ != "PanicException":
            raise
        _log.critical("edge.panic", collection=collection, error=str(error))
        raise Unavailable("The embedded engine stumbled over this request.") from error


def _mapped(collection: str, error: Exception) -> QuireError:
    words = str(error)
    lowered = words.lower()
    if any(hint in lowered for hint in _FULL):
        return StorageFull()
    reason = words.split(". ", maxsplit=1)[0]
    if any(hint in lowered for hint in _REFUSED) and "/" not in reason:
        return InvalidInput(f"The engine refuses this: {reason}.")
    _log.error("edge.fault", collection=collection, error=words)
    if "directory" in lowered and "does not exist" in lowered:
        return _missing(collection)
    return Unavailable("The embedded engine failed on this request; its log says why.")


def _missing(collection: str) -> CollectionNotFound:
    return CollectionNotFound(f"There is no collection {collection}.", collection=collection)
