"""Checksums that a sender adds to what it sends."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

from quire.errors import QuireError

Algorithm = Literal["sha1", "sha256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)


class ChecksumMismatch(QuireError):
    """What arrived does not have the checksum that was sent along; nothing of it was kept."""

    code = "checksum_mismatch"
    status = 460  # the protocol's own
    recovery = "Send the same bytes again, from the same offset."


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one append must come to."""

    algorithm: Algorithm
    digest: bytes


class Verification:
    """Bytes as they come in, to be compared in the end with the checksum, if there is one."""

    def __init__(self, checksum: Checksum | None) -> None:
        self._expected = checksum
        # Against broken lines, not against forgers: SHA-1 will do where the sender chose it.
        self._hash = (
            None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        )

    def update(self, block: bytes) -> None:
        if self._hash is not None:
            self._hash.update(block)

    def require(self) -> None:
        """Raise unless all that came has the checksum."""
        if self._hash is None or self._expected is None:
            return
        if self._hash.digest() != self._expected.digest:
            raise ChecksumMismatch(
                f"What arrived has the {self._expected.algorithm} {self._hash.hexdigest()}, and "
                f"not {self._expected.digest.hex()}; nothing of it was kept"
            )
