"""A process that runs whatever jobs there are until somebody kills it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from quire.app import Quire
from tests.crawling.doomed import settings_of


async def work(directory: Path, allow: str) -> None:
    async with Quire.open(settings_of(directory, allow)):
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
