from __future__ import annotations

import pytest

from quire.content.chunking import check_chunk_settings, open_chunker
from quire.content.models import ChunkSettings, SizeUnit, TextKind
from quire.errors import InvalidInput
from tests.content.chunking.cutting import count_words

CHARACTERS, TOKENS = SizeUnit.CHARACTERS, SizeUnit.TOKENS


@pytest.mark.parametrize(
    ("settings", "field", "message"),
    [
        (ChunkSettings(0), "chunk_size", "chunk_size is 0; in characters it must be from 1 to"),
        (ChunkSettings(-5), "chunk_size", "chunk_size is -5"),
        (ChunkSettings(100_001), "chunk_size", "from 1 to 100000"),
        (ChunkSettings(255, 0, TOKENS), "chunk_size", "in tokens it must be from 1 to 254"),
        (ChunkSettings(100, 100), "chunk_overlap", "is 100; it must be from 0 to 99"),
        (ChunkSettings(100, -1), "chunk_overlap", "chunk_overlap is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: ChunkSettings, field: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        check_chunk_settings(settings, window=254)
    assert refused.value.field == field
    with pytest.raises(InvalidInput):
        open_chunker(TextKind.PLAIN, settings, window=254, count_tokens=count_words)


@pytest.mark.parametrize(
    "settings",
    [ChunkSettings(1), ChunkSettings(100_000), ChunkSettings(254, 253, TOKENS)],
)
def test_settings_at_the_bounds_are_taken(settings: ChunkSettings) -> None:
    check_chunk_settings(settings, window=254)
