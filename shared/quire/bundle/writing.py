"""Writing a bundle: one part after the other, each through a scratch file, never one in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from quire.bundle import tar
from quire.bundle.contents import Body, BundleContents
from quire.bundle.manifest import Head, Manifest, Part
from quire.bundle.packing import Spool
from quire.bundle.parts import (
    ATTACHMENTS,
    DOCUMENTS,
    HEAD,
    LINE_BYTES_MAX,
    MANIFEST,
    PACK_BYTES,
    POINTS_BYTES,
    POINTS_MAX,
    SESSION,
    TABLES,
    content_name,
    points_name,
    table_name,
)
from quire.errors import LimitExceeded, VerificationFailed
from quire.vectors.digest import Digest, digest_of
from quire.vectors.port import Record

if TYPE_CHECKING:
    from quire.bundle.points_file import PointsWriter

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Ready:
    """A part that only has to be copied into the bundle."""

    name: str
    path: Path
    unpacked: int


def write_bundle(contents: BundleContents, folder: Path) -> AsyncGenerator[bytes, None]:
    """The bundle's bytes; `BundleWriter` is for who wants its manifest too."""
    return BundleWriter(contents, folder).blocks()


class BundleWriter:
    """Writes one bundle, in constant memory; the work is done in threads.

    `folder` is a scratch folder, the caller's to make and to remove. Mostly it holds one part; but
    while documents are written all their bytes, compressed, for the table that tells where they
    are stands before them.
    """

    def __init__(self, contents: BundleContents, folder: Path) -> None:
        unknown = contents.tables.keys() - ({*TABLES} - {ATTACHMENTS})
        if unknown:
            raise ValueError(f"a bundle has no table {', '.join(sorted(unknown))}")
        self._contents = contents
        self._folder = folder
        self._head = Head(contents.creator, contents.embedding, contents.vectors)
        self._parts: list[Part] = []
        self._counts: dict[str, int] = {}
        self._digest = Digest()

    @property
    def manifest(self) -> Manifest:
        """What was written, once `blocks` is at its end."""
        return Manifest(
            self._head.creator,
            self._head.embedding,
            self._head.vectors,
            self._counts,
            self._digest,
            tuple(self._parts),
        )

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The bundle's bytes, in pieces of at most a megabyte; close it when it is left early."""
        async with aclosing(self._ready()) as parts:
            async for part in parts:
                size = part.path.stat().st_size
                hashed = hashlib.sha256()
                yield tar.header(part.name, size)
                with part.path.open("rb") as file:
                    while block := await asyncio.to_thread(_hashed, file, hashed):
                        yield block
                yield tar.padding(size)
                part.path.unlink()
                self._parts.append(Part(part.name, hashed.hexdigest(), size, part.unpacked))
        data = self.manifest.to_json()
        yield tar.header(MANIFEST, len(data)) + data + tar.padding(len(data)) + tar.END

    async def _ready(self) -> AsyncGenerator[_Ready, None]:
        for section in (self._opening, self._points, self._documents, self._tables):
            async with aclosing(section()) as parts:
                async for part in parts:
                    yield part

    async def _opening(self) -> AsyncGenerator[_Ready, None]:
        head, path = self._head.to_json(), self._folder / HEAD
        path.write_bytes(head)
        yield _Ready(HEAD, path, len(head))
        async with Spool(self._folder / SESSION) as spool:
            await spool.write(_line(self._contents.session, SESSION))
        yield _Ready(SESSION, spool.path, spool.unpacked)

    async def _points(self) -> AsyncGenerator[_Ready, None]:
        await asyncio.to_thread(_points_writer)  # loads pyarrow, beside the loop
        writer: PointsWriter | None = None
        number = 0
        try:
            async for batch in self._contents.points:
                start = 0
                while start < len(batch):
                    writer = writer or self._points_part(number)
                    start += await asyncio.to_thread(self._write, writer, batch[start:])
                    if writer.full:
                        yield await self._finished(number, writer)
                        number, writer = number + 1, None
            if writer is not None:
                yield await self._finished(number, writer)
        finally:
            if writer is not None:
                writer.abandon()
        self._counts["points"] = self._digest.count

    def _points_part(self, number: int) -> PointsWriter:
        return _points_writer()(
            self._folder / f"points-{number}",
            self._head.dimension,
            vectors=self._contents.vectors,
            points_max=POINTS_MAX,
            bytes_max=POINTS_BYTES,
        )

    def _write(self, writer: PointsWriter, batch: Sequence[Record]) -> int:
        taken = writer.write(batch)
        written = batch[:taken]
        if not self._contents.vectors:
            written = [replace(record, dense=None, sparse=None) for record in written]
        self._digest += digest_of(written)
        return taken

    async def _finished(self, number: int, writer: PointsWriter) -> _Ready:
        await asyncio.to_thread(writer.close)
        return _Ready(points_name(number), self._folder / f"points-{number}", writer.unpacked)

    async def _documents(self) -> AsyncGenerator[_Ready, None]:
        count = 0
        async with (
            Spool(self._folder / DOCUMENTS) as table,
            Spool(self._folder / ATTACHMENTS) as attached,
            _Packs(self._folder) as packs,
        ):
            async for entry in self._contents.documents:
                text = raw = await packs.add(entry.raw)
                if entry.text is not None and entry.text.key != entry.raw.key:
                    text = await packs.add(entry.text)
                row = {**entry.row, "raw": raw, "text": text if entry.text else None}
                await table.write(_line(row, DOCUMENTS))
                count += 1
            await packs.turn()  # who takes documents over keeps their packs as they are
            attachments = await self._attached(attached, packs)
        self._counts["documents"] = count
        yield _Ready(DOCUMENTS, table.path, table.unpacked)
        for number, size in enumerate(packs.sizes):
            yield _Ready(content_name(number), packs.path(number), size)
        if attachments:
            self._counts[ATTACHMENTS] = attachments
            yield _Ready(table_name(ATTACHMENTS), attached.path, attached.unpacked)
        else:
            attached.path.unlink()

    async def _attached(self, spool: Spool, packs: _Packs) -> int:
        count = 0
        async for entry in self._contents.attachments:
            row = {**entry.row, "content": await packs.add(entry.content)}
            await spool.write(_line(row, table_name(ATTACHMENTS)))
            count += 1
        return count

    async def _tables(self) -> AsyncGenerator[_Ready, None]:
        for table, rows in sorted(self._contents.tables.items()):
            name, count = table_name(table), 0
            async with Spool(self._folder / name) as spool:
                async for row in rows:
                    await spool.write(_line(row, name))
                    count += 1
            if count:
                self._counts[table] = count
                yield _Ready(name, spool.path, spool.unpacked)
            else:
                spool.path.unlink()


class _Packs:
    """Bytes of documents, then of attachments, one after the other, in files of bounded size."""

    def __init__(self, folder: Path) -> None:
        self.sizes: list[int] = []
        self._folder = folder
        self._spool: Spool | None = None

    def path(self, number: int) -> Path:
        return self._folder / f"content-{number}"

    async def add(self, body: Body) -> Mapping[str, int]:
        """Put bytes where there is room, and tell where that is."""
        if self._spool and self._spool.unpacked + body.size > PACK_BYTES:
            await self.turn()
        number = len(self.sizes)
        if not body.size:
            return {"pack": number, "start": 0, "end": 0}
        if self._spool is None:
            self._spool = Spool(self.path(number))
        start = self._spool.unpacked
        async for data in body.read():
            await self._spool.write(data)
        end = self._spool.unpacked
        if end - start != body.size:
            raise VerificationFailed(
                f"The content {body.key} has {end - start} bytes, not {body.size}."
            )
        return {"pack": number, "start": start, "end": end}

    async def turn(self) -> None:
        """End this pack; what comes next begins another."""
        if self._spool is not None:
            await self._spool.close()
            self.sizes.append(self._spool.unpacked)
            self._spool = None

    async def __aenter__(self) -> _Packs:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.turn()
        elif self._spool is not None:
            self._spool.abandon()


def _hashed(file: BinaryIO, hashed: hashlib._Hash) -> bytes:
    block = file.read(_BLOCK)
    hashed.update(block)
    return block


def _line(row: Mapping[str, Any], part: str) -> bytes:
    line = orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    if len(line) > LINE_BYTES_MAX:
        raise LimitExceeded(f"A row of {part} has {len(line)} bytes; {LINE_BYTES_MAX} is the most.")
    return line


def _points_writer() -> type[PointsWriter]:
    from quire.bundle.points_file import PointsWriter  # noqa: PLC0415

    return PointsWriter
