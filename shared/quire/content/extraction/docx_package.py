"""The ZIP archive that a DOCX is, read with the suspicion that archives from strangers need."""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.parsers import expat

from quire.content.media import OFFICE_97, OTHER_PACKAGES
from quire.errors import ExtractionFailed

MAX_ENTRIES = 10_000
MAX_UNPACKED = 1024 * 1024 * 1024
# Word's XML packs 10 to 50 times. Small parts may be of one sentence repeated.
MAX_RATIO = 250
RATIO_FROM = 32 * 1024 * 1024
_BLOCK = 64 * 1024

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)

# What OOXML calls its namespaces, in both of its editions; others get no prefix.
_PREFIXES = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "w:",
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "w:",
    "http://schemas.openxmlformats.org/officeDocument/2006/math": "m:",
    "http://purl.oclc.org/ooxml/officeDocument/math": "m:",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc:",
    "http://purl.org/dc/elements/1.1/": "dc:",
}

Attributes = dict[str, str]
Start = Callable[[str, Attributes], None]
End = Callable[[str], None]
Characters = Callable[[str], None]


class Package:
    """An open DOCX: its parts, as streams of XML."""

    def __init__(self, source: Path) -> None:
        with source.open("rb") as file:
            if file.read(8) == OFFICE_97:
                raise ExtractionFailed(
                    "It is no DOCX but an Office file that is encrypted, or older than 2007",
                    recovery="Open it in a word processor, save it as DOCX without a password, "
                    "and send that.",
                )
        try:
            self._archive = zipfile.ZipFile(source)
        except _DAMAGE as error:
            raise ExtractionFailed(f"The DOCX is broken or cut off: {error}") from error
        self._unpacked = 0
        self._packed = source.stat().st_size
        self._entries = {entry.filename.lstrip("/"): entry for entry in self._archive.infolist()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._archive.close()

    def main_part(self) -> str:
        """The document itself; `ExtractionFailed` says what the archive is instead."""
        if len(self._entries) > MAX_ENTRIES:
            raise ExtractionFailed(
                f"The archive has {len(self._entries)} entries; a DOCX may have {MAX_ENTRIES}"
            )
        for kind, target in self.relations(""):
            if kind == "officeDocument" and target in self._entries:
                name = target
                break
        else:
            name = "word/document.xml"
        if name not in self._entries or not name.startswith("word/"):
            raise ExtractionFailed(f"It is no DOCX but {self._what_else()}")
        return name

    def relations(self, part: str) -> Iterator[tuple[str, str]]:
        """(kind, name) of each part that a part refers to."""
        folder, name = posixpath.split(part)
        found: list[tuple[str, str]] = []

        def start(tag: str, attributes: Attributes) -> None:
            if tag == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(
                    posixpath.join("/", folder, attributes.get("Target", ""))
                )
                found.append((attributes.get("Type", "").rpartition("/")[2], target.lstrip("/")))

        self.parse(posixpath.join(folder, "_rels", f"{name}.rels"), start)
        return iter(found)

    def parse(
        self, part: str, start: Start, end: End | None = None, characters: Characters | None = None
    ) -> None:
        """Stream a part through these; nothing happens where there is no such part."""
        if part not in self._entries:
            return
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        names: dict[str, str] = {}

        def short(name: str) -> str:
            known = names.get(name)
            if known is None:
                uri, _, local = name.rpartition(" ")
                known = names[name] = _PREFIXES.get(uri, "") + local
            return known

        def shortened(name: str, attributes: Attributes) -> None:
            start(short(name), {short(key): value for key, value in attributes.items()})

        parser.StartElementHandler = shortened
        if end is not None:
            parser.EndElementHandler = lambda name: end(short(name))
        if characters is not None:
            parser.CharacterDataHandler = characters
        # OOXML has no DTD, and without one there are no entities to expand.
        parser.StartDoctypeDeclHandler = _refuse_doctype
        try:
            for block in self._blocks(part):
                parser.Parse(block, False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise ExtractionFailed(f"The DOCX is broken: {part} is not XML ({error})") from error

    def _blocks(self, part: str) -> Iterator[bytes]:
        entry = self._entries[part]
        if entry.flag_bits & 1:
            raise ExtractionFailed(
                f"The DOCX is encrypted: {part} opens only with a password",
                recovery="Send it without its password.",
            )
        try:
            with self._archive.open(entry) as stream:
                while block := stream.read(_BLOCK):
                    # Counted as it comes: what the archive says of its sizes may be a lie.
                    self._unpacked += len(block)
                    self._require_modest()
                    yield block
        except _DAMAGE as error:
            raise ExtractionFailed(
                f"The DOCX is broken: {part} cannot be unpacked: {error}"
            ) from error

    def _require_modest(self) -> None:
        if self._unpacked > MAX_UNPACKED:
            raise ExtractionFailed(
                f"The DOCX unpacks to more than {MAX_UNPACKED // 1024**2} MB of XML",
                recovery="Send it in parts.",
            )
        if self._unpacked > RATIO_FROM and self._unpacked > MAX_RATIO * self._packed:
            raise ExtractionFailed(
                f"The DOCX unpacks to more than {MAX_RATIO} times its size, as zip bombs do",
                recovery="Open it in a word processor, save it anew and send that.",
            )

    def _what_else(self) -> str:
        for folder, meaning in OTHER_PACKAGES.items():
            if any(name.startswith(folder) for name in self._entries):
                return meaning
        return "another ZIP archive: it holds no word/document.xml"


def _refuse_doctype(*_: object) -> None:
    raise ExtractionFailed("The DOCX declares a document type and entities, as XML bombs do")
