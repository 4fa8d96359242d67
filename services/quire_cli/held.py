"""A data directory that another process owns, and asking that process how it is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import httpx

from quire.directory import LOCK_NAME
from quire.settings import Settings
from quire_cli.findings import Check, passed
from quire_cli.serving_address import url_of

ANSWER_SECONDS = 10.0


def holder_of(directory: Path) -> str | None:
    """The process that owns the directory, if one does; looking takes no hold of it."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return None


async def ask_server(settings: Settings, holder: str) -> list[Check]:
    """What the server that should be that process says of its parts."""
    url = url_of(settings.host, settings.port)
    try:
        # No proxy stands between us and ourselves.
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            answer = (await client.get(f"{url}/readyz")).json()
        parts, failures = dict(answer["parts"]), dict(answer["failures"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return [
            Check(
                "server",
                False,
                f"Process {holder} holds {settings.data_dir}, but no Quire answers at {url}",
                "If it serves elsewhere, set QUIRE_HOST and QUIRE_PORT as it has them. It may "
                "also be starting, or a command at work: run `quire doctor` again in a while.",
            )
        ]
    told = passed("server", f"process {holder} holds {settings.data_dir}; the rest is its answer")
    checks = [told, *(passed(name, message) for name, message in parts.items())]
    recovery = f"Look into the log of process {holder}; it recovers by itself when the part does."
    checks += [Check(name, False, message, recovery) for name, message in failures.items()]
    return checks
