"""Room on disk for documents while their text is being extracted."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp

# Longer than any extraction takes; what is older was left behind by a process that was killed.
LEFT_AFTER_SECONDS = 24 * 3600.0


class Scratch:
    """Folders that last as long as they are used."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        folder = await asyncio.to_thread(self._make)
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def sweep(self, left_after: float = LEFT_AFTER_SECONDS) -> None:
        """Remove what killed processes left behind."""
        await asyncio.to_thread(self._sweep, time.time() - left_after)

    def _make(self) -> Path:
        self._root.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(dir=self._root))

    def _sweep(self, before: float) -> None:
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)
