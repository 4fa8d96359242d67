"""What every child process does: open a Quire, and have workers work in it until it is killed."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from quire.app import Part, Quire
from quire.settings import load_settings
from quire.telemetry.logs import configure_logs
from tests.crash.journal import Journal


class Working(Protocol):
    async def work(self) -> None: ...


Hire = Callable[[Quire, Journal, random.Random, str], Working]


def work_until_killed(hire: Hire, *, width: int, letter: str) -> None:
    """With JOURNAL and SEED as arguments, and the settings in the environment."""
    asyncio.run(_work(hire, width, letter, Path(sys.argv[1]), int(sys.argv[2])))


async def _work(hire: Hire, width: int, letter: str, journal: Path, seed: int) -> None:
    chance = random.Random(seed)
    settings = load_settings()
    configure_logs(settings.log)
    async with Quire.open(settings, Part.API) as quire:
        while not (await quire.ready()).is_ready:
            await asyncio.sleep(0.02)
        print("ready", flush=True)
        workers = [
            hire(quire, Journal(journal), random.Random(chance.random()), f"{letter}{seed}-{n}")
            for n in range(width)
        ]
        await asyncio.gather(*(worker.work() for worker in workers))
