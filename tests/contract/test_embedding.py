"""What every embedding provider owes its callers, whoever makes the vectors."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import pytest_asyncio

from quire.embedding.endpoint import open_endpoint
from quire.embedding.fake import FakeProvider
from quire.embedding.minilm import IDENTITY, open_minilm
from quire.embedding.port import EmbeddingProvider, Identity, Lane, Purpose, Vectors
from quire.embedding.sentence_transformer import folder_revision, open_sentence_transformer
from quire.errors import InvalidInput, Unavailable
from quire.settings import EmbeddingSettings
from tests.backends.availability import UnavailableError
from tests.backends.requirement import got_or_skipped
from tests.embedding.endpoint import embedding_server
from tests.embedding.reference_model import reference_model

# Models take seconds to load: one loop, and each model once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = ("fake", "minilm-onnxruntime", "minilm-openvino", "sentence-transformers", "http")
Kind = Literal["fake", "minilm-onnxruntime", "minilm-openvino", "sentence-transformers", "http"]

ALIKE = 0.9999

SENTENCES = (
    "The session was merged into another one.",
    "Zwei Sitzungen wurden zusammengeführt.",
    "def merge(sessions: list[Session]) -> Session: ...",
    "A quire is a gathering of leaves that can be bound with others, taken apart and rebound.",
    "42",
)

ANY_UNICODE = (
    "",
    " ",
    "\n\t \u3000\u00a0",
    "\0",
    "a\0b",
    "naïve cafe\u0301 ﬁ Ⅷ ½",
    "日本語のテキスト 한국어 العربية עברית हिन्दी",
    "👩‍👩‍👧‍👦 🏳️‍🌈 𝕳𝖊𝖑𝖑𝖔 𓀀",
    "\u200b\ufeff\u202e\u0300\u0301",
    "\ufffd\uffff\U0010ffff\x7f\x80\x9f",
    "[CLS] [SEP] [PAD] [UNK] [MASK]",
    "</s><s><|endoftext|>",
)


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UnavailableError(f"{module} is not installed")


@dataclass(frozen=True)
class Opened:
    """A provider, what it is, and what should be true of it."""

    kind: Kind
    provider: EmbeddingProvider
    identity: Identity


Open = Callable[[], Awaitable[EmbeddingProvider]]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference_model(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def openers(reference: Path) -> Iterator[dict[Kind, tuple[Open, Identity]]]:
    """How each kind is opened, and the identity that it must then have."""
    with ExitStack() as stack:
        served = stack.enter_context(embedding_server(model=FakeProvider(384, window=100_000)))

        async def fake() -> EmbeddingProvider:
            return FakeProvider(96)

        def minilm(runtime: Literal["onnxruntime", "openvino"]) -> Open:
            async def opened() -> EmbeddingProvider:
                if runtime == "openvino":
                    got_or_skipped(lambda: needs("openvino"))
                return await open_minilm(EmbeddingSettings(runtime=runtime), reference)

            return opened

        async def sentence_transformers() -> EmbeddingProvider:
            got_or_skipped(lambda: needs("sentence_transformers"))
            settings = EmbeddingSettings(provider="sentence-transformers", model=str(reference))
            return await open_sentence_transformer(settings)

        async def http() -> EmbeddingProvider:
            settings = EmbeddingSettings(
                provider="http", url=served.url, model="fake", window=1_000, batch=8
            )
            return await open_endpoint(settings)

        yield {
            "fake": (fake, Identity("fake", "fake", "1", 96)),
            "minilm-onnxruntime": (minilm("onnxruntime"), IDENTITY),
            "minilm-openvino": (minilm("openvino"), IDENTITY),
            "sentence-transformers": (
                sentence_transformers,
                Identity("sentence-transformers", str(reference), folder_revision(reference), 384),
            ),
            "http": (http, Identity("http", "fake", "", 384)),
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def opened(
    request: pytest.FixtureRequest, openers: dict[Kind, tuple[Open, Identity]]
) -> AsyncIterator[Opened]:
    open_it, identity = openers[request.param]
    provider = await open_it()
    yield Opened(request.param, provider, identity)
    await provider.close()


@pytest.fixture(scope="module")
def provider(opened: Opened) -> EmbeddingProvider:
    return opened.provider


async def passages(
    provider: EmbeddingProvider, texts: Sequence[str], lane: Lane = Lane.INTERACTIVE
) -> Vectors:
    return await provider.embed(texts, purpose=Purpose.PASSAGE, lane=lane)


def cosines(one: Vectors, other: Vectors) -> np.ndarray[Any, Any]:
    return np.einsum("ij,ij->i", one.astype(np.float64), other.astype(np.float64))


def filling(provider: EmbeddingProvider, last: str) -> str:
    """As many words as the window takes in, all of them different, the last of them given."""

    def fits(words: list[str]) -> bool:
        return provider.count_tokens([" ".join([*words, last])])[0] <= provider.window

    words = [str(number) for number in range(provider.window)]
    while not fits(words):
        words.pop()
    while fits(["a", *words]):
        words.insert(0, "a")
    return " ".join([*words, last])


async def test_a_provider_says_what_it_is(opened: Opened) -> None:
    provider: EmbeddingProvider = opened.provider
    assert provider.identity == opened.identity
    assert provider.window > 100
    assert provider.batch >= 1


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("purpose", Purpose)
async def test_every_text_gets_a_vector_of_length_one(
    opened: Opened, purpose: Purpose, lane: Lane
) -> None:
    vectors = await opened.provider.embed(SENTENCES, purpose=purpose, lane=lane)

    assert vectors.shape == (len(SENTENCES), opened.identity.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("lane", Lane)
async def test_a_vector_does_not_depend_on_its_neighbours(
    provider: EmbeddingProvider, lane: Lane
) -> None:
    # Of all lengths, so that they are sorted and padded, and not in the order of their lengths.
    texts = [f"{sentence} {'word ' * (37 * n % 90)}" for n, sentence in enumerate(SENTENCES * 2)]
    alone = np.concatenate([await passages(provider, [text]) for text in texts])

    together = await passages(provider, texts, lane)

    assert cosines(alone, together).min() >= ALIKE
    # The order is that of the texts: none is nearer to another text's vector.
    nearest = (together @ alone.T).argmax(axis=1)
    assert [texts[n] for n in nearest] == texts


async def test_no_text_is_no_vector(opened: Opened) -> None:
    assert opened.provider.count_tokens([]) == []
    for lane in Lane:
        vectors = await passages(opened.provider, [], lane)
        assert vectors.shape == (0, opened.identity.dimension)
        assert vectors.dtype == np.float32


@pytest.mark.parametrize("lane", Lane)
async def test_any_unicode_is_embedded(provider: EmbeddingProvider, lane: Lane) -> None:
    vectors = await passages(provider, ANY_UNICODE, lane)

    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("text", ["\ud800", "text \udfff text", "\ude00\ud83d"])
async def test_what_is_no_unicode_is_refused(provider: EmbeddingProvider, text: str) -> None:
    for lane in Lane:
        with pytest.raises(InvalidInput, match="lone surrogate at character"):
            await passages(provider, ["text", text], lane)
    with pytest.raises(InvalidInput, match="lone surrogate at character"):
        provider.count_tokens(["text", text])


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("purpose", Purpose)
async def test_the_last_token_of_a_full_window_counts(
    provider: EmbeddingProvider, purpose: Purpose, lane: Lane
) -> None:
    texts = [filling(provider, last) for last in ("elephant", "mortgage")]
    # Where a token is a byte, a word is at least two.
    assert max(provider.count_tokens(texts)) >= provider.window - 1

    one, other = await provider.embed(texts, purpose=purpose, lane=lane)

    assert float(one @ other) < 0.9995


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("purpose", Purpose)
async def test_a_text_over_the_window_is_refused(
    provider: EmbeddingProvider, purpose: Purpose, lane: Lane
) -> None:
    text = filling(provider, "elephant")
    while provider.count_tokens([text])[0] <= provider.window:
        text += " a"

    for texts in ([text], ["short", text], ["short"] * 100 + ["a " * 100_000]):
        with pytest.raises(InvalidInput, match=rf"takes in {provider.window}") as refused:
            await provider.embed(texts, purpose=purpose, lane=lane)
        assert refused.value.details["window"] == provider.window


async def test_tokens_are_counted_text_by_text(provider: EmbeddingProvider) -> None:
    texts = [*SENTENCES, *ANY_UNICODE, "a " * 5_000]

    counts = provider.count_tokens(texts)

    assert counts == [provider.count_tokens([text])[0] for text in texts]
    assert counts[-1] >= 5_000
    assert counts[0] >= 8


async def test_a_question_is_near_to_what_answers_it(provider: EmbeddingProvider) -> None:
    (question,) = await provider.embed(["what was the session merged into"], purpose=Purpose.QUERY)
    answers = await passages(provider, SENTENCES)

    assert (answers @ question).argmax() == 0


async def test_many_tasks_may_embed_at_once(provider: EmbeddingProvider) -> None:
    expected = await passages(provider, SENTENCES)

    async def ask(number: int) -> float:
        lane = Lane.BULK if number % 2 else Lane.INTERACTIVE
        purpose = Purpose.QUERY if number % 3 else Purpose.PASSAGE
        # Models that know no purpose answer the same; these here know none.
        vectors = await provider.embed(SENTENCES, purpose=purpose, lane=lane)
        return float(cosines(vectors, expected).min())

    assert min(await asyncio.gather(*map(ask, range(24)))) >= ALIKE


async def test_the_event_loop_goes_on_while_bulk_work_runs(provider: EmbeddingProvider) -> None:
    texts = [f"{number} {'word ' * 60}" for number in range(48)]
    gaps: list[float] = []

    async def watch() -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)
            before = time.perf_counter()

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    await passages(provider, texts, Lane.BULK)
    took = time.perf_counter() - began
    watching.cancel()

    # What blocks, blocks for most of the time that the work takes; a busy machine for less.
    assert max(gaps, default=took) < max(0.15, took / 3)


async def test_a_closed_provider_refuses(provider: EmbeddingProvider) -> None:
    """Comes last, for it ends what the others share."""
    await provider.close()
    await provider.close()

    for lane in Lane:
        with pytest.raises(Unavailable, match="closed"):
            await passages(provider, ["text"], lane)


async def test_the_default_model_is_the_reference(
    openers: dict[Kind, tuple[Open, Identity]],
) -> None:
    texts = [*SENTENCES, *ANY_UNICODE, "word " * 254, "A quire is a gathering of leaves. " * 20]
    vectors = []
    for kind in ("sentence-transformers", "minilm-onnxruntime"):
        provider = await openers[kind][0]()
        vectors.append(await passages(provider, texts, Lane.BULK))
        counts = provider.count_tokens(texts)
        assert counts[-2] == provider.window == 254
        await provider.close()

    assert cosines(*vectors).min() >= ALIKE
