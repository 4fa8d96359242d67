"""Names that clients choose, and that stand in addresses: of data, attachments, invocations."""

from __future__ import annotations

import re
import unicodedata

from quire.errors import InvalidInput

ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@=+-]{0,127}")


def path_name(field: str, value: str, most: int) -> str:
    """A name that may hold slashes, as paths do; one that every proxy leaves as it is."""
    if not 1 <= len(value) <= most or any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise InvalidInput(
            f"{field} must be 1 to {most} characters, without control characters", field=field
        )
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise InvalidInput(
            f"{field}: what stands between slashes must not be empty, nor . or ..", field=field
        )
    return value


def client_id(field: str, value: str) -> str:
    """An id that a client gave."""
    if not ID.fullmatch(value):
        raise InvalidInput(
            f"{field} must be 1 to 128 of A-Z a-z 0-9 _ . : @ = + - and start with a letter, "
            "a digit or _",
            field=field,
        )
    return value
