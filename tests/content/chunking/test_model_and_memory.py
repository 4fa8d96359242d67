"""The default model's own tokeniser, and texts that are larger than what may be held."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from quire.content.models import ChunkSettings, SizeUnit, TextKind
from quire.embedding.weights import find_weights
from tests.content.chunking.cutting import CountTokens, cut, require_lawful

WINDOW = 254
MIXED = (
    "The quick brown fox, 漢字 and 한글, Ærøskøbing; naïve façade — "
    "שלום! 👨‍👩‍👧 x = f(y)[0] += 1;\n"
    "Donaudampfschifffahrtsgesellschaftskapitän pneumonoultramicroscopicsilicovolcanoconiosis\n\n"
)
TEXTS = {
    TextKind.PLAIN: MIXED * 60,
    TextKind.MARKDOWN: f"# Title\n\n{MIXED}```\n{MIXED}```\n\n" * 30,
    TextKind.JSON: json.dumps({"items": [{"id": i, "body": MIXED} for i in range(40)]}),
    TextKind.LINES: "\n".join(json.dumps([i, MIXED * (i % 4)]) for i in range(40)),
    TextKind.CSV: "id,text\n" + "".join(f'{i},"{MIXED}"\n' for i in range(60)),
}


@pytest.fixture(scope="module")
def count_tokens(tmp_path_factory: pytest.TempPathFactory) -> CountTokens:
    weights = find_weights(tmp_path_factory.mktemp("data"))
    if weights is None:
        pytest.fail("the default model's weights are not here: run `quire weights`")
    tokenizer = Tokenizer.from_file(str(weights.tokenizer))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    return count


@pytest.mark.parametrize(
    "settings", [ChunkSettings(1_000), ChunkSettings(200, 20, SizeUnit.TOKENS)]
)
@pytest.mark.parametrize("kind", TextKind)
def test_no_chunk_is_over_the_default_models_window(
    kind: TextKind, settings: ChunkSettings, count_tokens: CountTokens
) -> None:
    text = TEXTS[kind]

    cuts = cut(
        kind,
        text,
        settings.size,
        overlap=settings.overlap,
        unit=settings.unit,
        window=WINDOW,
        count=count_tokens,
    )

    require_lawful(cuts, text, settings, WINDOW, count_tokens)


MEASURE = """
import resource, sys
from quire.content.chunking import open_chunker
from quire.content.chunking.port import PIECE_CHARS
from quire.content.models import ChunkSettings, TextKind

unit = {"csv": '12,"some words, quoted",x\\n', "json": '{"id": 1, "body": "some words"}, '}.get(
    sys.argv[1], "Some words in a sentence. And more of them in another.\\n\\n"
)
piece = (unit * (PIECE_CHARS // len(unit) + 1))[:PIECE_CHARS]

def fed(megabytes):
    chunker = open_chunker(
        TextKind(sys.argv[1]), ChunkSettings(2_000), window=2_000,
        count_tokens=lambda texts: [len(text) // 4 for text in texts],
    )
    chunks = len(chunker.feed("["))
    for _ in range(megabytes * 1_000_000 // PIECE_CHARS):
        chunks += len(chunker.feed(piece))
    chunks += len(chunker.finish())
    assert chunks > megabytes * 400
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

print(fed(2), fed(int(sys.argv[2])))
"""


def _growth_kilobytes(kind: TextKind, megabytes: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, kind.value, str(megabytes)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3] / "shared",
    )
    before, after = map(int, done.stdout.split())
    return after - before


def test_memory_does_not_grow_with_the_text() -> None:
    assert _growth_kilobytes(TextKind.PLAIN, 20) < 10_000


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", TextKind)
def test_memory_does_not_grow_with_fifty_megabytes(kind: TextKind) -> None:
    assert _growth_kilobytes(kind, 50) < 10_000
