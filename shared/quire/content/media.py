"""Media types: what a document is, by what its sender says, its name and its first bytes.

What the sender says wins, unless the bytes plainly contradict it. Nothing said (or
`application/octet-stream`, which says nothing): the name's ending decides, then the first bytes,
then, for anything that is UTF-8, the look of its beginning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from quire.content.models import TextKind
from quire.content.text import require_charset
from quire.errors import UnsupportedMedia

HEAD_BYTES = 4096
"""How much of the beginning `recognise` wants to see; less where there is no more."""

PLAIN = "text/plain"
MARKDOWN = "text/markdown"
HTML = "text/html"
JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
TSV = "text/tab-separated-values"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_KINDS: dict[str, TextKind | None] = {
    PLAIN: TextKind.PLAIN,
    MARKDOWN: TextKind.MARKDOWN,
    HTML: None,
    JSON: TextKind.JSON,
    NDJSON: TextKind.LINES,
    CSV: TextKind.CSV,
    TSV: TextKind.CSV,
    PDF: None,
    DOCX: None,
}
_ALIASES = {
    "text/x-markdown": MARKDOWN,
    "application/xhtml+xml": HTML,
    "text/json": JSON,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
    "application/x-jsonl": NDJSON,
    "application/jsonlines": NDJSON,
    "application/x-jsonlines": NDJSON,
    "application/json-seq": NDJSON,
    "application/csv": CSV,
    "text/x-csv": CSV,
    "application/x-pdf": PDF,
    # Text of their own kinds, read as plain text, like every text/* that is not named here.
    "application/xml": PLAIN,
    "application/yaml": PLAIN,
    "application/x-yaml": PLAIN,
    "application/toml": PLAIN,
    "application/javascript": PLAIN,
    "application/sql": PLAIN,
    "application/x-sh": PLAIN,
}
_ENDINGS = {
    ".txt": PLAIN,
    ".text": PLAIN,
    ".log": PLAIN,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".json": JSON,
    ".ndjson": NDJSON,
    ".jsonl": NDJSON,
    ".csv": CSV,
    ".tsv": TSV,
    ".tab": TSV,
    ".pdf": PDF,
    ".docx": DOCX,
}
# Browsers on Windows call a .csv what opens it there.
_SAYS_NOTHING = frozenset(
    ["", "application/octet-stream", "binary/octet-stream", "application/vnd.ms-excel"]
)
OFFICE_97 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""What Office files before 2007 begin with, and encrypted ones since."""
OTHER_PACKAGES = {"xl/": "an Excel workbook", "ppt/": "a PowerPoint presentation"}
"""Archives like DOCX that are something else, by the folder that they keep it in."""
_SIGNATURES = (
    (OFFICE_97, "an Office file that is encrypted or older than 2007"),
    (b"{\\rtf", "RTF"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
)
_BOMS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_LOOKS_LIKE_HTML = re.compile(
    r"\s*(<\?xml[^>]*>\s*)?(<!--(?:(?!-->).)*-->\s*)*<(!doctype\s+html|html)\b",
    re.IGNORECASE | re.DOTALL,
)
_LOOKS_LIKE_JSON = re.compile(r"\s*(\{\s*[\"}]|\[\s*\{\s*[\"}])")
_LOOKS_LIKE_NDJSON = re.compile(r"\s*\{[^\r\n]*\}[ \t]*\r?\n[ \t]*\{")
_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')

_WHAT_WORKS = (
    "What can be read: plain text and source code (text/*), Markdown (text/markdown), "
    "HTML (text/html), JSON (application/json), NDJSON (application/x-ndjson), CSV (text/csv), "
    f"TSV ({TSV}), PDF ({PDF}) and DOCX ({DOCX})"
)


@dataclass(frozen=True, slots=True)
class MediaType:
    """What a document is."""

    name: str
    kind: TextKind | None
    """Of what is text already; None where the text has to be extracted."""
    charset: str | None = None
    """What the sender or a byte order mark says; None: UTF-8, or what the document itself says."""

    @property
    def needs_extraction(self) -> bool:
        return self.kind is None

    def __str__(self) -> str:
        return self.name if self.charset is None else f"{self.name}; charset={self.charset}"


def parse(content_type: str) -> tuple[str, str | None]:
    """A Content-Type's name and its charset, if it has one."""
    name = content_type.partition(";")[0].strip().lower()
    for parameter, value in _PARAMETER.findall(content_type):
        if parameter.lower() == "charset":
            return name, re.sub(r"\\(.)", r"\1", value.strip('"')) or None
    return name, None


def recognise(content_type: str | None, name: str | None, head: bytes) -> MediaType:
    """What a document is; `UnsupportedMedia` lists what can be read.

    `head` is its first `HEAD_BYTES` bytes. Of a type that is text under another name (`text/x-c`,
    `application/feed+json`) the name is kept.
    """
    said, charset = parse(content_type or "")
    if charset is not None:
        require_charset(charset)
    if said not in _SAYS_NOTHING:
        media_type = _named(said)
        if media_type is None:
            raise UnsupportedMedia(f"{said[:100]} cannot be read. {_WHAT_WORKS}")
        _require_no_contradiction(media_type, f"It is said to be {said}", head)
    else:
        media_type = _by_ending(name, head) or _by_signature(head) or _by_look(head, charset)
    if media_type.name not in (PDF, DOCX):
        charset = charset or _charset_of_mark(head)
        media_type = MediaType(media_type.name, media_type.kind, charset)
    return media_type


def _named(name: str) -> MediaType | None:
    canonical = _ALIASES.get(name, name)
    if canonical in _KINDS:
        # An alias of one type is that type; one of many that are read as plain text stays itself.
        return MediaType(name if canonical == PLAIN else canonical, _KINDS[canonical])
    if name.endswith("+json"):
        return MediaType(name, TextKind.JSON)
    if name.startswith("text/") and name != "text/rtf":
        return MediaType(name, TextKind.PLAIN)
    return None


def _by_ending(name: str | None, head: bytes) -> MediaType | None:
    found = _ENDINGS.get(PurePath(name or "").suffix.lower())
    if found is None:
        return None
    media_type = MediaType(found, _KINDS[found])
    _require_no_contradiction(media_type, f"Its name says {found}", head)
    return media_type


def _by_signature(head: bytes) -> MediaType | None:
    if head.startswith(b"%PDF-"):
        return MediaType(PDF, None)
    if head.startswith(b"PK\x03\x04"):
        return _by_first_entries(head)
    for signature, meaning in _SIGNATURES:
        if head.startswith(signature):
            raise UnsupportedMedia(f"It is {meaning}, which cannot be read. {_WHAT_WORKS}")
    return None


def _by_first_entries(head: bytes) -> MediaType:
    for folder, meaning in OTHER_PACKAGES.items():
        if folder.encode() in head and b"word/" not in head:
            raise UnsupportedMedia(f"It is {meaning}, which cannot be read. {_WHAT_WORKS}")
    if b"word/" in head or b"[Content_Types].xml" in head or b"_rels/.rels" in head:
        return MediaType(DOCX, None)
    raise UnsupportedMedia(f"It is a ZIP archive, which cannot be read. {_WHAT_WORKS}")


def _by_look(head: bytes, charset: str | None) -> MediaType:
    text = _as_text(head, charset or _charset_of_mark(head))
    if text is None:
        raise UnsupportedMedia(
            "Neither its Content-Type nor its name says what it is, and it is no text. "
            f"{_WHAT_WORKS}",
            recovery="Send it with its Content-Type.",
        )
    if _LOOKS_LIKE_HTML.match(text):
        return MediaType(HTML, None)
    if _LOOKS_LIKE_NDJSON.match(text):
        return MediaType(NDJSON, TextKind.LINES)
    if _LOOKS_LIKE_JSON.match(text):
        return MediaType(JSON, TextKind.JSON)
    return MediaType(PLAIN, TextKind.PLAIN)


def _as_text(head: bytes, charset: str | None) -> str | None:
    if charset is not None:
        return head.decode(require_charset(charset), "replace").lstrip("\ufeff")
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or len(head) < HEAD_BYTES:
            return None
        text = head[: error.start].decode("utf-8-sig")  # the head ends within a character
    return None if "\0" in text else text


def _charset_of_mark(head: bytes) -> str | None:
    return next((charset for mark, charset in _BOMS if head.startswith(mark)), None)


def _require_no_contradiction(media_type: MediaType, claim: str, head: bytes) -> None:
    if head.startswith(b"%PDF-"):
        is_what, fits = "a PDF", media_type.name == PDF
    elif head.startswith(b"PK\x03\x04"):
        is_what, fits = "a ZIP archive, as DOCX is", media_type.name == DOCX
    elif head.startswith(OFFICE_97):
        # The DOCX reader has more to say about it.
        is_what, fits = "an Office file of the old kind", media_type.name == DOCX
    elif media_type.name == PDF:
        # Readers let a PDF begin late.
        is_what, fits = "text", b"%PDF-" in head[:1024] or _as_text(head, None) in (None, "")
    elif media_type.name == DOCX:
        is_what, fits = "no ZIP archive, as every DOCX is", not head
    else:
        return
    if not fits:
        raise UnsupportedMedia(
            f"{claim}, but its first bytes are those of something else: it is {is_what}. "
            f"{_WHAT_WORKS}",
            recovery="Send it with its own Content-Type and name, or with neither.",
        )
