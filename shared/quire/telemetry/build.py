"""Which Quire this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version, `unknown` when run from sources that nobody installed."""
    try:
        return metadata.version("quire")
    except metadata.PackageNotFoundError:
        return "unknown"
