"""What an attachment is: by its first bytes, and by what its sender says where they agree.

The sender's word decides what a browser would do with the bytes, so it is not taken for what the
bytes show to be something else: HTML that is said to be an image is served as HTML, to be saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from quire.content.media import parse

HEAD_BYTES = 4096
"""How much of the beginning `media_type_of` wants to see; less where there is no more."""

BINARY = "application/octet-stream"
SVG = "image/svg+xml"
SAYS_NOTHING = frozenset(
    ["", BINARY, "binary/octet-stream", "application/x-www-form-urlencoded", "*/*"]
)

_NAME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_CHARSET = re.compile(r"[A-Za-z0-9._-]{1,40}")
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/svg": SVG,
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "text/json": "application/json",
}
# What files in a ZIP archive, an MP4 or a WebM may rightly be called as well.
_FAMILIES = {
    "application/zip": re.compile(
        r"application/(.*\+zip|vnd\.openxmlformats-.*|vnd\.oasis\.opendocument.*|java-archive"
        r"|vnd\.android\.package-archive|vnd\.ms-.*|x-.*)"
    ),
    "video/mp4": re.compile(r"audio/(mp4|x-m4a|aac)|video/(quicktime|x-m4v|3gpp2?)|image/hei[cf]"),
    "video/webm": re.compile(r"audio/(webm|x-matroska)|video/x-matroska"),
}
_TEXTUAL = re.compile(
    r"text/.*|.*\+(json|xml)|application/(json|xml|javascript|ecmascript|x-javascript|x-ndjson"
    r"|jsonl|x-jsonlines|yaml|x-yaml|toml|sql|x-sh|graphql|xhtml\+xml)"
)


def _at(offset: int, *signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: any(head[offset:].startswith(signature) for signature in signatures)


def _riff(kind: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(b"RIFF") and head[8:12] == kind


def _iso_media(*brands: bytes) -> Callable[[bytes], bool]:
    """The container of MP4 and AVIF; its brands say which of them it is."""

    def recognises(head: bytes) -> bool:
        if head[4:8] != b"ftyp":
            return False
        box = head[8 : int.from_bytes(head[:4], "big")]
        return not brands or any(box[i : i + 4] in brands for i in range(0, len(box), 4))

    return recognises


def _is_mp3(head: bytes) -> bool:
    if head.startswith(b"ID3"):
        return True
    # A frame's header: eleven bits of one, layer III, and neither bit rate nor sample rate invalid.
    return (
        len(head) > 3
        and head[0] == 0xFF
        and head[1] & 0xE6 == 0xE2
        and head[2] >> 4 not in (0, 15)
        and head[2] >> 2 & 3 != 3
    )


_SIGNATURES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("image/png", _at(0, b"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", _at(0, b"\xff\xd8\xff")),
    ("image/gif", _at(0, b"GIF87a", b"GIF89a")),
    ("image/webp", _riff(b"WEBP")),
    ("audio/wav", _riff(b"WAVE")),
    ("image/avif", _iso_media(b"avif", b"avis")),
    ("video/mp4", _iso_media()),
    ("video/webm", _at(0, b"\x1a\x45\xdf\xa3")),
    ("application/pdf", _at(0, b"%PDF-")),
    ("application/zip", _at(0, b"PK\x03\x04", b"PK\x05\x06")),
    ("image/bmp", lambda head: head.startswith(b"BM") and head[6:10] == bytes(4)),
    ("audio/mpeg", _is_mp3),
)
_SIGNED = frozenset(name for name, _ in _SIGNATURES)
_MARKUP = ("text/html", SVG)
_SHOWN = ("text/plain", "application/json")
_LEADING = re.compile(r"\A\s*(<\?xml[^>]*>\s*)?(<!--.*?(-->|\Z)\s*)*", re.DOTALL)
# As browsers look for it (https://mimesniff.spec.whatwg.org).
_HTML = re.compile(
    r"(<!doctype\s+html|<(html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
    r"|form|img|object|embed|video|audio|meta|link|base|math)\b)",
    re.IGNORECASE,
)
_SVG = re.compile(r"(<!doctype\s+svg|<svg\b|<[a-z]+:svg\b)", re.IGNORECASE)
_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*([\[{"\]0-9-]|true|false|null))')


def media_type_of(declared: str | None, head: bytes) -> str:
    """The type to keep, with its charset where it has one."""
    said, charset = parse(declared or "")
    said = _ALIASES.get(said, said)
    if said in SAYS_NOTHING or not _NAME.fullmatch(said):
        said, charset = "", None
    if charset is not None and not _CHARSET.fullmatch(charset):
        charset = None
    seen = next((name for name, recognises in _SIGNATURES if recognises(head)), None)
    if seen is not None:
        family = _FAMILIES.get(seen)
        return said if family is not None and family.fullmatch(said) else seen
    text = _as_text(head)
    if text is None:
        return _unrecognised(said, charset, head)
    seen = _text_type(text)
    # Text of other kinds than these is never shown, so it may hold what it wants.
    contradicts = said in _SHOWN if seen in _MARKUP else said == SVG
    if _TEXTUAL.fullmatch(said) and not contradicts:
        return _with_charset(said, charset)
    return seen if seen == "application/json" else _with_charset(seen, "utf-8")


def _unrecognised(said: str, charset: str | None, head: bytes) -> str:
    """Of what shows nothing of itself: the sender's word, unless the bytes would have shown it."""
    if not said or said in _SIGNED:
        return BINARY
    if _TEXTUAL.fullmatch(said):
        # Text in another encoding than UTF-8, if it is text.
        if charset is None and (b"\0" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff")):
            return BINARY
        return _with_charset(said, charset)
    return said


def _text_type(text: str) -> str:
    begins = _LEADING.sub("", text, count=1)
    if _SVG.match(begins):
        return SVG
    if _HTML.match(begins):
        return "text/html"
    return "application/json" if _JSON.match(text) else "text/plain"


def _as_text(head: bytes) -> str | None:
    """The head as UTF-8 without control characters that no text has; None where it is no such."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or len(head) < HEAD_BYTES:
            return None
        text = head[: error.start].decode("utf-8-sig")  # the head ends within a character
    return None if any(c < "\x20" and c not in "\t\n\r\f\x1b\x08" for c in text) else text


def _with_charset(name: str, charset: str | None) -> str:
    return name if charset is None else f"{name}; charset={charset.lower()}"
