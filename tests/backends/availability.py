"""Whether a real server can be had, and what follows when it can't."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRE = "QUIRE_TEST_REQUIRE"
NAMES = ("qdrant", "postgres", "s3")


class UnavailableError(Exception):
    """A real server can't be had here; the message is the one line a person needs."""


def required(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The backends that must be there, as `QUIRE_TEST_REQUIRE` lists them."""
    wanted = [name.strip() for name in environment.get(REQUIRE, "").split(",") if name.strip()]
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        raise pytest.UsageError(
            f"{REQUIRE} names {', '.join(unknown)}; it takes a comma list of {', '.join(NAMES)}"
        )
    return tuple(name for name in NAMES if name in wanted)
