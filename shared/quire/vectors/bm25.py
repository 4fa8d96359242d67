"""Text to sparse vectors, by Qdrant's own BM25 embedder.

It runs here, in the client, whatever the engine: so words are cut, stemmed and hashed the same way
when a text is written and when it is asked for. The inverse document frequency is the engine's
part (the IDF modifier on the sparse vector), because only it knows the collection.
"""

from __future__ import annotations

from qdrant_edge import Bm25 as _Embedder
from qdrant_edge import Bm25Config
from qdrant_edge import SparseVector as _Sparse

from quire.vectors.port import SparseVector

AVERAGE_LENGTH = 128.0
"""Words in a typical chunk; BM25 discounts the words of longer texts and favours shorter ones."""

# With so large a k, and no regard to length, a word's weight is how often it stands there.
_UNSATURATED = 2.0**20


class Bm25:
    """Embeds documents and queries of one language for keyword search."""

    def __init__(
        self, *, language: str = "english", average_length: float = AVERAGE_LENGTH
    ) -> None:
        self._embedder = _Embedder(Bm25Config(language=language, avg_len=average_length))
        self._counter = _Embedder(Bm25Config(language=language, k=_UNSATURATED, b=0.0))

    def document(self, text: str) -> SparseVector:
        """The weights of a document's words; empty when it has none."""
        return _vector(self._embedder.embed_document(_encodable(text)))

    def query(self, text: str) -> SparseVector:
        """The words of a query; empty (it matches nothing) when all of them are stop words."""
        return _vector(self._embedder.embed_query(_encodable(text)))

    def counts(self, text: str) -> dict[int, int]:
        """How often each word stands in a text."""
        words = _vector(self._counter.embed_document(_encodable(text)))
        return {word: round(n) for word, n in zip(words.indices, words.values, strict=True)}


def _encodable(text: str) -> str:
    """Half surrogate pairs cannot cross into the engine, and no word needs them."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _vector(sparse: _Sparse) -> SparseVector:
    return SparseVector(list(sparse.indices), list(sparse.values))
