"""A process that copies a collection again and again until it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from quire.vectors.edge import EdgeEngine


async def main(root: Path) -> None:
    """Copy `work` over `copy` for ever."""
    engine = await EdgeEngine.open(root, max_open=3, lock_wait=10)
    print("ready", flush=True)
    while True:
        await engine.copy("work", "copy")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
