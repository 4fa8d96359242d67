"""The data directory, and the lock that makes one process its owner."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from quire.errors import ConfigurationError, StorageFull

LOCK_NAME = "quire.lock"


class DataDirectory:
    """Held from `open` to `close`; a killed process's hold ends with it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> DataDirectory:
        """Make the directory if need be, and own it; a second owner is refused by name."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise StorageFull(f"There is no room left in {path}") from error
            raise ConfigurationError(
                f"QUIRE_DATA_DIR={path} cannot be used: {error.strerror}",
                recovery="Set QUIRE_DATA_DIR to a directory that this user may write to.",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigurationError(
                f"The data directory {path} is in use by the Quire process {owner}",
                recovery="Stop that process, or set QUIRE_DATA_DIR to another directory.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return cls(path, descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
