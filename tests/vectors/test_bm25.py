"""Words to sparse vectors."""

from __future__ import annotations

from quire.vectors.bm25 import Bm25


def test_documents_and_queries_share_the_numbers_of_their_words() -> None:
    bm25 = Bm25()
    document = bm25.document("Foxes were jumping over the lazy dog")
    query = bm25.query("fox jumped")
    assert len(query.indices) == 2
    assert set(query.indices) <= set(document.indices)
    assert list(query.values) == [1.0, 1.0]


def test_a_word_said_twice_weighs_more_but_not_twice() -> None:
    once, twice = (Bm25().document(text).values[0] for text in ("fox", "fox fox"))
    assert once < twice < 2 * once


def test_a_text_without_words_gives_an_empty_vector() -> None:
    for text in ("", "  \n", "the and of", "\0", "…"):
        assert list(Bm25().document(text).indices) == []


def test_half_a_surrogate_pair_does_no_harm() -> None:
    assert Bm25().document("fox \ud83e dog").indices == Bm25().document("fox dog").indices


def test_the_embedding_is_the_same_in_every_process() -> None:
    # Stored vectors outlive this process: these numbers must never change.
    assert list(Bm25().query("fox jump").indices) == [1621867415, 1913189942]
