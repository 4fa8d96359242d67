"""What callers bring: documents before they are admitted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quire.content.models import ChunkSettings, SizeUnit
from quire.content.text import Errors
from quire.errors import InvalidInput
from quire.sessions import validation
from quire.sessions.models import Session
from quire.settings import LimitSettings

DOCUMENT_ID = re.compile(r"[^\x00-\x20\x7f/\\][^\x00-\x1f\x7f/\\]{0,255}")
TITLE_CHARS = 1_000
URL_CHARS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A document to be: small ones as bytes, files as streams, which are read once."""

    content: bytes | AsyncIterable[bytes] | None
    """None: what lies at `source_url` is to be fetched."""
    content_type: str | None = None
    name: str | None = None
    id: str | None = None
    title: str | None = None
    source_url: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    at: str | None = None
    """What errors call it; unset: its place in the request."""
    text: bytes | None = None
    """Its text as Markdown, of what was read already; else it is got out of the content."""
    errors: Errors | None = None
    """What becomes of bytes that are no text; None: the request decides."""
    fleeting: frozenset[str] = frozenset()
    """Metadata that is no reason to take it in again if nothing else has changed."""

    def checked(self, at: str, limits: LimitSettings) -> Source:
        """Itself, or an error that names the field that cannot be."""
        if self.id is not None and (
            not DOCUMENT_ID.fullmatch(self.id) or self.id in (".", "..") or not _encodes(self.id)
        ):
            raise InvalidInput(
                f"{at}.id must be 1 to 256 characters without slashes or control characters, "
                "not begin with a space, and be neither . nor ..",
                field=f"{at}.id",
            )
        for name, value, most in (
            ("title", self.title, TITLE_CHARS),
            ("url", self.source_url, URL_CHARS),
        ):
            if value is not None and (len(value) > most or "\x00" in value or not _encodes(value)):
                raise InvalidInput(
                    f"{at}.{name} must be at most {most} characters, without NUL or half pairs",
                    field=f"{at}.{name}",
                )
        validation.json_object(f"{at}.metadata", self.metadata, limits)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """How the documents of one request are taken in; what is None the session decides."""

    chunk_size: int | None = None
    chunk_overlap: int | None = None
    chunk_unit: SizeUnit | None = None
    errors: Errors = "strict"

    def chunking(self, session: Session) -> ChunkSettings:
        """The request's own, else the session's `processing_options`, else the defaults."""
        options = session.configuration.processing_options
        default = ChunkSettings()
        size = _integer("chunk_size", self.chunk_size, options, default.size)
        overlap = _integer("chunk_overlap", self.chunk_overlap, options, default.overlap)
        try:
            unit = self.chunk_unit or SizeUnit(options.get("chunk_unit", default.unit))
        except ValueError:
            raise InvalidInput(
                "configuration.processing_options.chunk_unit is characters or tokens",
                field="chunk_unit",
            ) from None
        return ChunkSettings(size, overlap, unit)


def _integer(name: str, given: int | None, options: Mapping[str, Any], default: int) -> int:
    value = options.get(name, default) if given is None else given
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(
            f"configuration.processing_options.{name} is an integer, not {value!r:.100}", field=name
        )
    return value


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
