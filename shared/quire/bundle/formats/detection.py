"""What kind of file it is: by its bytes, and by its name only where bytes do not tell."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import orjson

from quire.bundle.formats.models import Format
from quire.errors import FileRefused

_LOOK = 64 * 1024
_MARK = b"\xef\xbb\xbf"
_TAR_MAGIC = slice(257, 262)
_FIRST_KEY = re.compile(rb'\{\s*"(?:session|collection_data|export_timestamp)"\s*:')
_SHARD = re.compile(r"[0-9]+/|(?:segments|wal)(?:/|$)|(?:replica_state|shard_config)\.json")
_CSV_NAMES = (".csv", ".tsv")
_CSV_TYPES = ("text/csv", "text/tab-separated-values")

_OTHERS = (
    (b"\x1f\x8b", "It is compressed with gzip: unpack it first."),
    (b"\x28\xb5\x2f\xfd", "It is compressed with zstd: unpack it first."),
    (b"BZh", "It is compressed with bzip2: unpack it first."),
    (b"\xfd7zXZ", "It is compressed with xz: unpack it first."),
    (b"PK\x03\x04", "It is a ZIP archive or a workbook: send the file within, or save it as CSV."),
    (b"ARROW1", "It is an Arrow (Feather) file: write it as Parquet."),
    (b"\x80\x04", "It is a Python pickle; such files are never opened."),
    (b"\x80\x05", "It is a Python pickle; such files are never opened."),
    (b"[", "It is one JSON array: write one object a line instead (JSONL)."),
)


def detect(path: Path, name: str | None = None, content_type: str | None = None) -> Format | None:
    """The file's format, None if it is none that can be imported; blocking, and short.

    `name` and `content_type` are what the sender says; they count for CSV only, which nothing else
    tells. A file of a known kind that must be treated first is refused, saying how.
    """
    with path.open("rb") as file:
        start = file.read(_LOOK)
    if start.startswith(b"PAR1"):
        return Format.PARQUET
    if start[_TAR_MAGIC] == b"ustar":
        return _in_tar(path)
    media_type = (content_type or "").split(";")[0].strip().lower()
    if (name or "").lower().endswith(_CSV_NAMES) or media_type in _CSV_TYPES:
        return Format.CSV
    text = start.removeprefix(_MARK).lstrip()
    for magic, hint in _OTHERS:
        if text.startswith(magic):
            raise FileRefused(hint)
    return _in_json(text) if text.startswith(b"{") else None


def _in_tar(path: Path) -> Format | None:
    try:
        with tarfile.open(path, "r:") as archive:
            first = archive.next()
    except (tarfile.TarError, EOFError, ValueError):
        return None
    if first is None:
        return None
    if first.name == "format.json":
        return Format.BUNDLE
    return Format.SNAPSHOT if _SHARD.match(first.name.removeprefix("./")) else None


def _in_json(start: bytes) -> Format:
    if not _FIRST_KEY.match(start):
        return Format.JSONL
    line, _, rest = start.partition(b"\n")
    if not rest.lstrip().startswith(b"{"):
        return Format.SESSION_JSON
    # A column may be called `session`, too: lines that are whole objects are JSONL.
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return Format.SESSION_JSON
    return Format.JSONL
