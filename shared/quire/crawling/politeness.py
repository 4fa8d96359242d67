"""Politeness: one host is asked one thing at a time, with a pause between."""

from __future__ import annotations

import asyncio

HOSTS_KEPT = 1_000


class Politeness:
    """Says when it is a crawl's turn; all crawls of this process share it."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}

    async def turn(self, host: str, delay: float) -> None:
        """Wait until the host may be asked again, and have whoever comes next wait for so long."""
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._free_at.pop(host, 0.0))
        self._free_at[host] = start + delay
        if len(self._free_at) > HOSTS_KEPT:
            self._forget(loop.time())
        await asyncio.sleep(start - loop.time())

    def _forget(self, now: float) -> None:
        self._free_at = {host: at for host, at in self._free_at.items() if at > now}
