"""What the failures of object stores and file systems are called in Quire."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from quire.errors import BlobNotFound, StorageFull, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# obstore passes on a store's refusal only in words.
_FULL_WORDS = ("507 Insufficient Storage", "StorageFull", "QuotaExceeded", "(os error 28)")


@contextmanager
def naming_failures(sha256: str | None = None) -> Iterator[None]:
    """Turns them into Quire's errors; what is missing is the blob, if one is named."""
    try:
        yield
    except FileNotFoundError as error:
        if sha256 is not None and "NoSuchBucket" not in str(error):
            raise BlobNotFound(f"There is no blob {sha256}", sha256=sha256) from error
        raise Unavailable(
            "The blob store's bucket or folder is not there",
            recovery="Check QUIRE_BLOB_URL, or make the bucket.",
        ) from error
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise Unavailable(
            "The blob store refuses Quire",
            recovery="Check QUIRE_BLOB_ACCESS_KEY and QUIRE_BLOB_SECRET_KEY, or the rights to "
            "the data folder.",
        ) from error
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The disk that holds the blobs is full") from error
        raise Unavailable("The blob store does not answer") from error
    except (BaseError, httpx.HTTPError) as error:
        if any(words in str(error) for words in _FULL_WORDS):
            raise StorageFull("The blob store is full") from error
        raise Unavailable("The blob store does not answer") from error
