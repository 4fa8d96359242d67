"""The scheduler: questions first, bulk work fair and in batches, and every failure its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest

from quire.embedding.fake import FakeProvider
from quire.embedding.port import Lane, Purpose, Vectors
from quire.embedding.scheduler import REMEMBERED, WORKERS, Embedder
from quire.errors import InvalidInput, Unavailable

BATCH = 4


class GatedProvider(FakeProvider):
    """The fake, in batches of four, with a record of its calls and a gate before bulk work."""

    batch = BATCH

    def __init__(self) -> None:
        super().__init__(16, window=50)
        self.calls: list[tuple[Lane, list[str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: Exception | None = None
        self.closed = False

    @property
    def bulk(self) -> list[list[str]]:
        return [texts for lane, texts in self.calls if lane is Lane.BULK]

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose, lane: Lane = Lane.INTERACTIVE
    ) -> Vectors:
        self.calls.append((lane, list(texts)))
        if lane is Lane.BULK:
            await self.gate.wait()
            if self.broken is not None:
                raise self.broken
        return await super().embed(texts, purpose=purpose, lane=lane)

    async def close(self) -> None:
        self.closed = True
        await super().close()


@pytest.fixture
def provider() -> GatedProvider:
    return GatedProvider()


@pytest.fixture
async def embedder(provider: GatedProvider) -> AsyncIterator[Embedder]:
    before = asyncio.all_tasks()
    embedder = Embedder(provider, queue=16)
    yield embedder
    await embedder.close()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, "a task outlives the embedder"


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_passages_come_back_in_the_order_of_their_texts(
    embedder: Embedder, provider: GatedProvider
) -> None:
    texts = [f"text {number} {words(number * 7 % 40)}" for number in range(53)]
    vectors = await embedder.passages(texts)
    np.testing.assert_array_equal(vectors, provider.vectors(texts))
    assert vectors.dtype == np.float32


async def test_no_passages_are_no_rows(embedder: Embedder) -> None:
    assert (await embedder.passages([])).shape == (0, 16)


async def test_batches_are_full_and_of_texts_of_like_length(
    embedder: Embedder, provider: GatedProvider
) -> None:
    await embedder.passages([words(1 + number % 4 * 10) for number in range(16)])
    assert [len(batch) for batch in provider.bulk] == [BATCH] * 4
    assert all(len({*batch}) == 1 for batch in provider.bulk)


async def test_the_oldest_text_is_never_passed_over(
    embedder: Embedder, provider: GatedProvider
) -> None:
    await embedder.passages([words(40), *["short"] * 40])
    assert words(40) in provider.bulk[0]


async def test_small_callers_share_a_batch(embedder: Embedder, provider: GatedProvider) -> None:
    await asyncio.gather(*(embedder.passages([f"caller {number}"]) for number in range(BATCH)))
    assert len(provider.bulk) == 1


async def test_a_small_caller_does_not_wait_for_a_large_one(
    embedder: Embedder, provider: GatedProvider
) -> None:
    provider.gate.clear()
    large = asyncio.create_task(embedder.passages(["large"] * 400))
    await settle()
    small = asyncio.create_task(embedder.passages(["small"] * 2 * BATCH))
    await settle()
    provider.gate.set()
    await small
    # Behind what was under way, at every other turn.
    turns = [turn for turn, batch in enumerate(provider.bulk) if "small" in batch]
    assert turns[-1] < WORKERS + 2 * 2
    assert not large.done()
    await large


async def test_no_more_than_the_queue_is_read_ahead(
    embedder: Embedder, provider: GatedProvider
) -> None:
    class Watched(Sequence[str]):
        reads = 0

        def __len__(self) -> int:
            return 200

        def __getitem__(self, index: Any) -> Any:
            self.reads += 1
            return "text"

    provider.gate.clear()
    callers = [Watched() for _ in range(3)]
    calls = [asyncio.create_task(embedder.passages(texts)) for texts in callers]
    await settle()
    assert sum(texts.reads for texts in callers) <= 16 + WORKERS * BATCH
    provider.gate.set()
    await asyncio.gather(*calls)


async def test_a_question_goes_before_all_bulk_work(
    embedder: Embedder, provider: GatedProvider
) -> None:
    provider.gate.clear()
    bulk = asyncio.create_task(embedder.passages(["text"] * 100))
    await settle()
    async with asyncio.timeout(1):
        await embedder.query("a question")
    assert not bulk.done()
    provider.gate.set()
    await bulk


async def test_a_bad_text_fails_its_caller_alone(embedder: Embedder) -> None:
    good, bad = await asyncio.gather(
        embedder.passages(["good"]),
        embedder.passages([words(51), "fine"]),
        return_exceptions=True,
    )
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, InvalidInput)
    assert "51 tokens" in str(bad)
    assert len(await embedder.passages(["the next"])) == 1


@pytest.mark.parametrize("error", [Unavailable("gone"), ValueError("a defect")])
async def test_a_provider_that_fails_is_told_to_its_callers_and_used_again(
    embedder: Embedder, provider: GatedProvider, error: Exception
) -> None:
    provider.broken = error
    with pytest.raises(type(error), match=str(error)):
        await embedder.passages(["text"] * 30)
    provider.broken = None
    assert len(await embedder.passages(["text"] * 30)) == 30


async def test_a_cancelled_caller_takes_its_texts_along(
    embedder: Embedder, provider: GatedProvider
) -> None:
    provider.gate.clear()
    gone = asyncio.create_task(embedder.passages(["gone"] * 100))
    stays = asyncio.create_task(embedder.passages(["stays"] * 20))
    await settle()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    provider.gate.set()
    assert len(await stays) == 20
    embedded = [text for batch in provider.bulk for text in batch]
    assert embedded.count("gone") <= WORKERS * BATCH


async def test_closing_fails_those_who_wait(embedder: Embedder, provider: GatedProvider) -> None:
    provider.gate.clear()
    waiting = asyncio.create_task(embedder.passages(["text"] * 100))
    await settle()
    await embedder.close()
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await embedder.passages(["text"])
    with pytest.raises(Unavailable):
        await embedder.query("question")
    assert provider.closed


async def test_a_question_asked_again_is_remembered_and_the_oldest_forgotten(
    embedder: Embedder, provider: GatedProvider
) -> None:
    first = await embedder.query("question")
    first[0] = 9.0
    again = await embedder.query("question")
    assert again == provider.vectors(["question"])[0].tolist(), "the caller's list is its own"
    assert len(provider.calls) == 1
    for number in range(REMEMBERED):
        await embedder.query(f"question {number}")
    await embedder.query("question")
    assert len(provider.calls) == REMEMBERED + 2


async def test_a_long_question_is_the_mean_of_pieces_that_fit(
    embedder: Embedder, provider: GatedProvider
) -> None:
    text = " ".join(f"w{number}" for number in range(130))
    vector = np.array(await embedder.query(text))
    pieces = provider.calls[-1][1]
    assert "".join(pieces) == text
    assert max(provider.count_tokens(pieces)) <= 50
    assert sum(provider.count_tokens(pieces)) == 130, "no word is cut"
    mean = provider.vectors(pieces).mean(axis=0)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-5)


async def test_a_long_question_without_a_space_is_cut_between_characters(
    embedder: Embedder,
) -> None:
    assert np.linalg.norm(await embedder.query("?" * 777)) == pytest.approx(1, abs=1e-5)
