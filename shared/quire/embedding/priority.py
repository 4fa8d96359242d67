"""Which threads give way when there is more to do than there are cores."""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 10


def give_way() -> None:
    """Let the calling thread, and those that it starts, run after others; on Linux only.

    Elsewhere niceness belongs to the whole process, and lowering that would lower the queries too.
    """
    if sys.platform == "linux":
        niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
