"""Texts cut in tests, and what must be true of every cut."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from quire.content.chunking import open_chunker
from quire.content.chunking.port import PIECE_CHARS, CountTokens, Cut, Resume
from quire.content.models import ChunkSettings, SizeUnit, TextKind

WORDS = re.compile(r"\w{1,4}|[^\w\s]")


def count_words(texts: Sequence[str]) -> list[int]:
    """A tokeniser: signs, and words in pieces of four characters; white space is nothing."""
    return [len(WORDS.findall(text)) for text in texts]


def cut(
    kind: TextKind,
    text: str,
    size: int,
    *,
    overlap: int = 0,
    unit: SizeUnit = SizeUnit.CHARACTERS,
    window: int = 1_000,
    count: CountTokens = count_words,
    piece: int = PIECE_CHARS,
    resume: Resume | None = None,
) -> list[Cut]:
    settings = ChunkSettings(size, overlap, unit)
    chunker = open_chunker(kind, settings, window=window, count_tokens=count, resume=resume)
    begin = resume.at if resume else 0
    cuts: list[Cut] = []
    for start in range(begin, len(text), piece):
        cuts += chunker.feed(text[start : start + piece])
    return cuts + chunker.finish()


def texts(kind: TextKind, text: str, size: int, **more: int) -> list[str]:
    return [made.text for made in cut(kind, text, size, **more)]


def through_json(resume: Resume) -> Resume:
    stored = json.loads(json.dumps({"at": resume.at, "state": resume.state}))
    return Resume(stored["at"], stored["state"])


def require_lawful(
    cuts: list[Cut], text: str, settings: ChunkSettings, window: int, count: CountTokens
) -> None:
    """Offsets are exact, everything is covered in order, and nothing is too large."""
    covered, previous = 0, -1
    for made in cuts:
        assert made.text == text[made.start : made.end] != ""
        assert previous < made.start <= covered
        if not settings.overlap:
            assert made.start == covered
        covered, previous = max(covered, made.end), made.start
        assert made.tokens == count([made.embedded])[0] <= window
        if settings.unit is SizeUnit.TOKENS:
            assert made.tokens <= settings.size
        else:
            assert len(made.text) <= settings.size
    assert covered == len(text)
    if not settings.overlap:
        assert "".join(made.text for made in cuts) == text
