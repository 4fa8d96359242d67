"""Which chunker cuts which kind of text."""

from __future__ import annotations

from quire.content.chunking.csv_text import CsvNotation
from quire.content.chunking.json_text import JsonNotation
from quire.content.chunking.port import Chunker, CountTokens, Resume
from quire.content.chunking.prose import MarkdownCutter, PlainCutter
from quire.content.chunking.records import RecordCutter
from quire.content.chunking.sizes import Sizes, check_chunk_settings
from quire.content.chunking.stretches import Cutter, StretchChunker
from quire.content.models import ChunkSettings, TextKind

CHUNKER_VERSION = "1"
"""Changes whenever some text would be cut differently; sessions record it."""


def open_chunker(
    kind: TextKind,
    settings: ChunkSettings,
    *,
    window: int,
    count_tokens: CountTokens,
    resume: Resume | None = None,
) -> Chunker:
    """A chunker at the beginning of a text, or where `resume` says.

    `window` is what the model takes in, special tokens not counted. Raises `InvalidInput` for
    settings that `check_chunk_settings` refuses.
    """
    check_chunk_settings(settings, window)
    sizes = Sizes(settings, window, count_tokens)
    return StretchChunker(
        _cutter(kind, sizes),
        limit=sizes.limit,
        span=sizes.span,
        count=count_tokens,
        resume=resume or Resume(),
    )


def _cutter(kind: TextKind, sizes: Sizes) -> Cutter:
    match kind:
        case TextKind.PLAIN:
            return PlainCutter(sizes)
        case TextKind.MARKDOWN:
            return MarkdownCutter(sizes)
        case TextKind.JSON:
            return RecordCutter(JsonNotation(lines=False), sizes)
        case TextKind.LINES:
            return RecordCutter(JsonNotation(lines=True), sizes)
        case TextKind.CSV:
            return RecordCutter(CsvNotation(), sizes)
