"""Blob addresses, and the object paths that they become."""

from __future__ import annotations

import re

from quire.errors import InvalidInput

BLOBS = "sha256"
STAGING = "staging"
# One level of folders: a listing can be had in 256 pieces, and no folder grows too long.
SHARDS = tuple(f"{number:02x}" for number in range(256))

_ADDRESS = re.compile(r"[0-9a-f]{64}")


def require_address(sha256: str) -> str:
    """The address itself, if it is one."""
    if not _ADDRESS.fullmatch(sha256):
        raise InvalidInput(
            "A blob's address must be a sha256: 64 digits of 0-9 and a-f", field="sha256"
        )
    return sha256


def object_path(sha256: str) -> str:
    """Where the blob is in its store."""
    return f"{BLOBS}/{require_address(sha256)[:2]}/{sha256}"


def address_at(path: str) -> str | None:
    """The address of the blob at an object path; None for an object that is no blob of ours."""
    sha256 = path.rpartition("/")[2]
    if not _ADDRESS.fullmatch(sha256) or path != object_path(sha256):
        return None
    return sha256
