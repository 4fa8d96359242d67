"""What came from the web: an answer while it arrives, and one that is here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime

JSON = "application/json"
HTML = frozenset(["text/html", "application/xhtml+xml"])
_READABLE = frozenset(
    [
        "",  # not said: its bytes say what it is
        "application/octet-stream",
        "application/xhtml+xml",
        "application/xml",
        "application/x-ndjson",
        "application/yaml",
        "application/pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        JSON,
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is known of an answer before its body is."""

    url: str
    """What was asked for, canonical."""
    final_url: str
    """Where it was found, after all redirects."""
    status: int
    media_type: str
    """In lower case, without parameters; empty where it was not said."""
    charset: str | None
    headers: Mapping[str, str]
    """By their names in lower case; those that came twice are joined with commas."""
    fetched_at: datetime

    @property
    def content_type(self) -> str | None:
        """Media type and charset, as a Content-Type has them; None where it was not said."""
        charset = "" if self.charset is None else f"; charset={self.charset}"
        return f"{self.media_type}{charset}" if self.media_type else None

    @property
    def is_html(self) -> bool:
        return self.media_type in HTML


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving(Answer):
    """An answer whose body arrives while it is read, once."""

    blocks: AsyncGenerator[bytes, None]
    """The body, decompressed, in blocks of 64 KB at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched(Answer):
    """An answer that is here, whole."""

    body: bytes


def is_readable(media_type: str) -> bool:
    """Something that text can be got out of; pictures, films and programs are not fetched."""
    return (
        media_type in _READABLE
        or media_type.endswith("+json")
        or (media_type.startswith("text/") and media_type != "text/rtf")
    )
