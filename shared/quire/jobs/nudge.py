"""Telling the engine's queue at once that there is work, instead of at its next look."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


class Nudge:
    """Cuts short one thread's waits; its looking at intervals stays, for what others enqueue."""

    def __init__(self, thread_name: str) -> None:
        self._thread_name = thread_name
        self._nudged = threading.Event()

    def __call__(self) -> None:
        self._nudged.set()

    def shorten(self, stops: Iterable[threading.Event]) -> None:
        """Have the thread wait for a nudge as well, wherever it waits for one of these."""
        for stop in stops:
            stop.wait = self._waiting_for(stop)  # type: ignore[method-assign, assignment]

    def _waiting_for(self, stop: threading.Event) -> Callable[[float | None], bool]:
        wait = stop.wait

        def wait_for_either(timeout: float | None = None) -> bool:
            if threading.current_thread().name != self._thread_name:
                return wait(timeout)
            self._nudged.wait(timeout)
            self._nudged.clear()
            return stop.is_set()

        return wait_for_either
