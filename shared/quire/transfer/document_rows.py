"""Documents as JSON, in blobs and bundles, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from quire.content.models import (
    ChunkSettings,
    Document,
    DocumentStatus,
    SizeUnit,
    Slice,
    TextKind,
)
from quire.content.rows import SAME_NAMES as ROW_NAMES

SAME_NAMES = tuple(name for name in ROW_NAMES if name not in ("created_at", "updated_at"))


def document_json(document: Document) -> dict[str, Any]:
    """All of a document's row."""
    return {
        **{name: getattr(document, name) for name in SAME_NAMES},
        "status": document.status.value,
        "raw": asdict(document.raw),
        "text": None if document.text is None else asdict(document.text),
        "kind": document.kind and document.kind.value,
        "chunking": asdict(document.chunking),
        "created_at": document.created_at.isoformat(),
        "updated_at": document.updated_at.isoformat(),
    }


def document_from(told: Mapping[str, Any]) -> Document:
    """What `document_json` wrote."""
    chunking = told["chunking"]
    return Document(
        **{name: told[name] for name in SAME_NAMES},
        status=DocumentStatus(told["status"]),
        raw=Slice(**told["raw"]),
        text=None if told["text"] is None else Slice(**told["text"]),
        kind=TextKind(told["kind"]) if told["kind"] else None,
        chunking=ChunkSettings(chunking["size"], chunking["overlap"], SizeUnit(chunking["unit"])),
        created_at=datetime.fromisoformat(told["created_at"]),
        updated_at=datetime.fromisoformat(told["updated_at"]),
    )
