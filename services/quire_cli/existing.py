"""The choice of `quire restore`; apart, since `quire --help` must not load the library."""

from __future__ import annotations

from enum import StrEnum


class Existing(StrEnum):
    """What is done about sessions that are there already."""

    FAIL = "fail"
    SKIP = "skip"
    NEW_ID = "new-id"
