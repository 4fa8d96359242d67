"""`quire weights`."""

from __future__ import annotations

import sys
from pathlib import Path

from quire.embedding.weights import WeightsUnavailable, ensure_weights, find_weights, places


def ensure(data_dir: Path, *, check: bool, source: Path | None) -> None:
    """Say where the weights are, and get them first unless only asked to check."""
    found = find_weights(data_dir)
    if check and found is None:
        raise WeightsUnavailable(
            f"The weights are in none of {', '.join(str(place) for place in places(data_dir))}",
            recovery="`quire weights` gets them.",
        )
    if found is None or source is not None:
        found = ensure_weights(data_dir, source=source, progress=_tell)
    print(found.directory)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
