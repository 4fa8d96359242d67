"""What a worker process gives up before it opens a stranger's file."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
from pathlib import Path

if sys.platform != "win32":
    import resource

_PR_SET_PDEATHSIG = 1
_NICE = 10


def confine(parent: int, megabytes: int) -> None:
    """Bound this process's memory, put it behind others, and tie its life to its parent's."""
    if sys.platform == "win32":
        return

    os.nice(_NICE)
    limits = {
        resource.RLIMIT_AS: megabytes * 1024**2,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for name, limit in limits.items():
        _, hard = resource.getrlimit(name)
        bounded = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(name, (bounded, bounded))
        except (OSError, ValueError):  # macOS knows no limit of address space
            continue
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it could be tied to
            os._exit(0)
        try:  # should the machine run out of memory, this is what it can do without
            Path("/proc/self/oom_score_adj").write_text("1000")
        except OSError:
            return


def allow_seconds(seconds: float) -> None:
    """Die on having computed for so long from now; the parent's clock is a second guard."""
    if sys.platform == "win32":
        return

    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(
        resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1, hard)
    )


def resident_bytes() -> int:
    """How much memory this process holds; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
