"""The file of an import, on this machine's disk for as long as it is read."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from quire.blobs.port import BlobStore
from quire.bundle.formats.models import Format
from quire.bundle.reading import BundleReader
from quire.errors import FileRefused, StorageDamaged, StorageFull
from quire.transfer.import_request import ImportRequest, Inspected
from quire.uploads.uploads import Uploads
from quire.vectors.port import Point


class ImportFile:
    """Fetches the file once for a run of the job; a run in another process fetches it again."""

    def __init__(
        self, folder: Path, source: Mapping[str, Any], blobs: BlobStore, uploads: Uploads
    ) -> None:
        self.folder = folder
        self._path = folder / "file"
        self._source = source
        self._blobs = blobs
        self._uploads = uploads
        self._sha256: str | None = None

    async def fetch(self, expected: str | None = None) -> tuple[Path, str]:
        """Where it lies, and its sha256; `expected` is what it was when it was checked."""
        if self._sha256 is None:
            self._sha256 = await self._copy()
        if expected not in (None, self._sha256):
            raise StorageDamaged("The file that is imported is not what it was when it was checked")
        return self._path, self._sha256

    async def _copy(self) -> str:
        hashed = hashlib.sha256()
        with self._path.open("wb") as file:
            async for block in await self._blocks():
                await asyncio.to_thread(_take_in, block, file, hashed)
        return hashed.hexdigest()

    async def _blocks(self) -> AsyncIterator[bytes]:
        if (upload_id := self._source.get("upload")) is not None:
            return self._uploads.read(await self._uploads.keep(upload_id))
        return self._blobs.get(self._source["blob"])


class PointsOfFile:
    """The points of a file, batch by batch, on from anywhere; between two portions it stays open.

    Whatever is wrong with the file raises `FileRefused`.
    """

    def __init__(self, file: ImportFile, inspected: Inspected, request: ImportRequest) -> None:
        self._file = file
        self._inspected = inspected
        self._request = request
        self._batches: Iterator[list[Point]] | None = None
        self._at = 0

    async def batches(self, start: int) -> AsyncIterator[Sequence[Point]]:
        """From the point with this number on; what is given out is as good as written."""
        if self._batches is None or self._at != start:
            path, _ = await self._file.fetch(self._inspected.sha256)
            self._batches, self._at = await asyncio.to_thread(self._open, path), 0
        while (batch := await asyncio.to_thread(next, self._batches, None)) is not None:
            self._at += len(batch)
            if self._at <= start:
                continue
            yield batch

    def _open(self, path: Path) -> Iterator[list[Point]]:
        if self._inspected.is_bundle:
            return _of_bundle(path)
        from quire.bundle.formats.reading import read_rows  # noqa: PLC0415 - it is large

        return read_rows(
            path,
            self._inspected.format,
            self._request.columns,
            folder=self._file.folder,
            namespace=namespace_of(self._inspected.sha256),
        )


def namespace_of(sha256: str) -> UUID:
    """Of the ids that rows without one get: the same file gives the same ids."""
    return UUID(sha256[:32])


def _of_bundle(path: Path) -> Iterator[list[Point]]:
    with BundleReader.open(path, unpacked_max=0, checked=True) as reader:
        for part in range(reader.points_parts):
            yield from reader.points(part)


def detected(path: Path, request: ImportRequest) -> Format:
    """What kind of file it is, as the caller says or as it shows."""
    from quire.bundle.formats.detection import detect  # noqa: PLC0415 - it is large

    if not path.stat().st_size:
        raise FileRefused(
            "The file is empty: there is nothing to import",
            recovery="Send the file as the request's body.",
        )
    found = request.format or detect(path, request.file_name, request.content_type)
    if found is None:
        raise FileRefused(
            "It is not known what kind of file this is; a bundle, Parquet, JSONL, CSV, a session's "
            "JSON export and a Qdrant snapshot can be imported",
            recovery="Say which it is with `format`, or CSV by its content type; or send another.",
        )
    return found


def _take_in(block: bytes, file: Any, hashed: Any) -> None:
    try:
        file.write(block)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull("There is no room on disk for the file that is imported") from error
        raise
    hashed.update(block)
