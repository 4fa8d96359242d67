"""A good bundle, its parts, and the way to see that a bad one is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from quire.bundle.reading import BundleReader
from quire.errors import FileRefused
from tests.bundle.samples import UNPACKED_MAX, bind, taken_apart


@pytest.fixture(scope="package")
def good() -> bytes:
    return asyncio.run(bind())


@pytest.fixture
def apart(good: bytes) -> dict[str, bytes]:
    return taken_apart(good)


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    """Why the file is refused; it must be for one reason, and leave nothing."""

    def check(bundle: bytes, reason: str, unpacked_max: int = UNPACKED_MAX) -> None:
        path = tmp_path / "bundle"
        path.write_bytes(bundle)
        with pytest.raises(FileRefused, match=reason):
            BundleReader.open(path, unpacked_max=unpacked_max)
        assert list(tmp_path.iterdir()) == [path]

    return check
