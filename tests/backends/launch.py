"""Becomes the command it is given, and dies with the process that started it.

Run as a script: `launch.py SIGNAL PARENT UID GID COMMAND…` (UID and GID -1: stay who you are).
It replaces itself by the command, so the process id that the parent sees is the server's.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Set limits, user and death signal, then become the command."""
    death_signal, parent, uid, gid = (int(value) for value in arguments[:4])
    command = arguments[4:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        # A server with hundreds of collections opens more files than the usual 1,024.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        # After setuid, which clears it; and only Linux has it.
        libc.prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            sys.exit("the process that asked for this server is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
