"""Copying and syncing shard directories: mostly holes, so never byte by byte."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 1 << 20
_PAGE = 1 << 16
_NO_COPY_RANGE = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def files_below(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file below a directory: its path relative to it, and its status."""
    pending = [""]
    while pending:
        relative = pending.pop()
        with os.scandir(directory / relative) as entries:
            for entry in entries:
                name = os.path.join(relative, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                else:
                    yield name, entry.stat(follow_symlinks=False)


def clone_tree(source: Path, target: Path) -> None:
    """Copy a directory's data and leave its holes holes; nothing is synced."""
    os.mkdir(target, 0o700)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                clone_tree(source / entry.name, target / entry.name)
            else:
                clone_file(entry.path, os.path.join(target, entry.name))


def clone_file(source: str, target: str) -> None:
    """Copy a file's data and leave its holes holes."""
    with _opened(source, os.O_RDONLY) as read, _opened(target, os.O_WRONLY | os.O_CREAT) as write:
        size = os.fstat(read).st_size
        os.ftruncate(write, size)
        for start, end in _data_ranges(read, size):
            _copy_range(read, write, start, end)


def _data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(read: int, write: int, start: int, end: int) -> None:
    while start < end:
        count = min(end - start, _BLOCK)
        try:
            copied = os.copy_file_range(read, write, count, start, start)
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            copied = os.pwrite(write, os.pread(read, count, start), start)
        if copied == 0:
            return
        start += copied


def data_digest(path: str) -> tuple[int, str]:
    """A file's length and the sha256 of its data; a hole counts as the zeros that it reads as.

    Blocks of zeros are passed over with their places told, so holes cost nothing to look at.
    """
    hashed = hashlib.sha256()
    with _opened(path, os.O_RDONLY) as read:
        size = os.fstat(read).st_size
        seen = 0
        for start, end in _data_ranges(read, size):
            # Whole pages, wherever the holes of this file happen to end.
            for at in range(max(seen, start - start % _PAGE), end, _PAGE):
                page = os.pread(read, _PAGE, at)
                if page.strip(b"\0"):
                    hashed.update(b"%d:" % at)
                    hashed.update(page)
                seen = at + _PAGE
    return size, hashed.hexdigest()


def sync_path(path: Path) -> None:
    """Have one file, or one directory's list of names, survive a power cut."""
    with _opened(os.fspath(path), os.O_RDONLY) as fd:
        os.fsync(fd)


def sync_tree(directory: Path) -> None:
    """Have everything below a directory survive a power cut, names included."""
    for parent, _, names in os.walk(directory):
        for name in names:
            sync_path(Path(parent, name))
        sync_path(Path(parent))


def write_synced(path: Path, content: bytes) -> None:
    """Replace a file so that it is, at any moment, whole: the old content or the new."""
    draft = path.with_name(f".{path.name}.new")
    with open(draft, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def disk_bytes(directory: Path) -> int:
    """What a directory takes on disk; holes take nothing."""
    return sum(status.st_blocks * 512 for _, status in files_below(directory))


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
