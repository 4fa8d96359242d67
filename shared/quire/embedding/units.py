"""Vectors of length 1, out of whatever a model answered."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quire.embedding.port import Vectors
from quire.errors import InvalidInput, Unavailable


def unit_vectors(raw: NDArray[Any], model: str) -> Vectors:
    """The same directions with length 1; refuses what has none."""
    # In double precision, as the squares of large single ones overflow.
    wide = raw.astype(np.float64)
    finite = np.isfinite(wide).all(axis=1)
    if not finite.all():
        raise Unavailable(
            f"{model} answered a vector with NaN or infinity for text {int(finite.argmin())}",
            recovery="Look at the model: half precision overflows in some; have it run in another.",
        )
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if not lengths.all():
        raise InvalidInput(
            f"{model} makes nothing but zeros of text {int(lengths.argmin())}, which is no vector",
            recovery="Leave the text out; a vector of zeros is near to nothing.",
            index=int(lengths.argmin()),
        )
    vectors: Vectors = (wide / lengths).astype(np.float32)
    return vectors
