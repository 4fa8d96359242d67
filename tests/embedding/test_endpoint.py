"""The HTTP provider against a real server that fails in every way servers do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from pydantic import SecretStr

from quire.embedding import pace
from quire.embedding.endpoint import CONCURRENCY, EndpointProvider, open_endpoint
from quire.embedding.port import Identity, Lane, Purpose
from quire.embedding.weights import find_weights
from quire.errors import (
    ConfigurationError,
    EmbeddingMismatch,
    InvalidInput,
    Unavailable,
)
from quire.settings import EmbeddingSettings
from tests.backends.ports import LOOPBACK, free_ports
from tests.embedding.endpoint import (
    EmbeddingServer,
    Fault,
    embedding_server,
    encoded,
    hang,
    instead,
    status,
)

PATIENCE = {Lane.INTERACTIVE: 1.0, Lane.BULK: 8.0}
KEY = "sk-very-secret"


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddingServer]:
    with embedding_server() as server:
        yield server


@pytest.fixture
def server(running: EmbeddingServer) -> EmbeddingServer:
    running.forget()
    return running


@pytest.fixture(autouse=True)
def _quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.02)


@asynccontextmanager
async def opened(server: EmbeddingServer, **given: Any) -> AsyncIterator[EndpointProvider]:
    given = {"url": server.url, "model": "fake", "dimension": 64, **given}
    settings = EmbeddingSettings(provider="http", **given)
    provider = await open_endpoint(settings, dimension=settings.dimension, patience=PATIENCE)
    try:
        yield provider
    finally:
        await provider.close()


def texts(count: int) -> list[str]:
    return [f"text number {number}" for number in range(count)]


async def embed(
    provider: EndpointProvider, given: list[str], lane: Lane = Lane.INTERACTIVE
) -> np.ndarray[Any, Any]:
    return await provider.embed(given, purpose=Purpose.PASSAGE, lane=lane)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_vectors_come_in_the_order_of_the_texts_and_with_length_one(encoding: str) -> None:
    with embedding_server(encoding=encoding) as server:
        async with opened(server, batch=8) as provider:
            vectors = await embed(provider, texts(50))

    assert vectors.dtype == np.float32
    assert np.allclose(vectors, server.model.vectors(texts(50)), atol=1e-6)
    assert sorted(len(asked.texts) for asked in server.asked) == [2, 8, 8, 8, 8, 8, 8]


async def test_the_dimension_is_asked_for_once_unless_it_is_set(server: EmbeddingServer) -> None:
    async with opened(server, dimension=None) as provider:
        assert provider.identity == Identity("http", "fake", "", 64)
        await embed(provider, ["text"])
    assert len(server.asked) == 2

    async with opened(server) as provider:
        assert provider.identity == Identity("http", "fake", "", 64)
    assert len(server.asked) == 2


async def test_prefixes_go_before_questions_and_texts(server: EmbeddingServer) -> None:
    async with opened(server, query_prefix="query: ", passage_prefix="passage: ") as provider:
        await provider.embed(["why"], purpose=Purpose.QUERY)
        await provider.embed(["because"], purpose=Purpose.PASSAGE)

        assert [asked.texts for asked in server.asked] == [["query: why"], ["passage: because"]]


async def test_another_passage_prefix_is_another_identity(server: EmbeddingServer) -> None:
    async with (
        opened(server) as without,
        opened(server, passage_prefix="passage: ") as one,
        opened(server, passage_prefix="text: ") as another,
        opened(server, query_prefix="query: ") as asking,
    ):
        assert len({provider.identity for provider in (without, one, another)}) == 3
        # It changes no vector that is stored.
        assert asking.identity == without.identity


async def test_a_token_is_taken_for_a_byte_unless_the_tokeniser_is_known(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    weights = find_weights(tmp_path)
    assert weights is not None, "run `quire weights`"
    text = "naïve embeddings, embedded"
    async with (
        opened(server, window=40) as guessing,
        opened(server, window=40, tokenizer=weights.tokenizer) as knowing,
    ):
        assert guessing.count_tokens([text]) == [len(text.encode())]
        assert knowing.count_tokens([text, "word " * 300]) == [7, 300]
        # Two for the special tokens.
        assert guessing.window == knowing.window == 38
        await embed(knowing, ["word " * 38])
        with pytest.raises(InvalidInput, match="Text 1 has 39 tokens, and fake takes in 38"):
            await embed(knowing, ["word", "word " * 39])


@pytest.mark.parametrize("content", [None, b"{}", b"\xff"])
async def test_a_file_that_is_no_tokeniser_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    settings = EmbeddingSettings(
        provider="http", url="http://localhost:1", model="m", dimension=4, tokenizer=path
    )

    with pytest.raises(ConfigurationError, match=f"QUIRE_EMBEDDING_TOKENIZER={path}"):
        await open_endpoint(settings, dimension=4)


async def test_a_prefix_takes_room_from_the_text(server: EmbeddingServer) -> None:
    async with opened(server, window=40, query_prefix="query: ") as provider:
        assert provider.window == 40 - 2 - len("query: ") - 1
        await provider.embed(["x" * provider.window], purpose=Purpose.QUERY)
        with pytest.raises(InvalidInput):
            await embed(provider, ["x" * (provider.window + 1)])

    with pytest.raises(ConfigurationError, match="leave none for text"):
        async with opened(server, window=8, query_prefix="query: "):
            pass


# Failures that pass


@pytest.mark.parametrize(
    "faults",
    [
        [status(500)],
        [status(503), status(502), status(504)],
        [status(429), status(429)],
        [status(429, retry_after="0"), status(503, retry_after="soon")],
    ],
)
async def test_what_fails_for_a_moment_is_asked_again(
    server: EmbeddingServer, faults: list[Fault]
) -> None:
    async with opened(server) as provider:
        server.faults.extend(faults)

        vectors = await embed(provider, ["text"], Lane.BULK)

    assert np.allclose(vectors, server.model.vectors(["text"]), atol=1e-6)
    assert len(server.asked) == len(faults) + 1


async def test_a_request_that_hangs_is_given_up_and_made_again(server: EmbeddingServer) -> None:
    async with opened(server, timeout_seconds=0.1) as provider:
        server.faults.append(hang())

        await embed(provider, ["text"])

    assert len(server.asked) == 2


async def test_a_server_may_be_away_for_a_while() -> None:
    (port,) = free_ports(1)
    settings = EmbeddingSettings(provider="http", url=f"http://{LOOPBACK}:{port}/v1", model="fake")
    provider = await open_endpoint(settings, dimension=64, patience=PATIENCE)

    asking = asyncio.create_task(embed(provider, ["text"], Lane.BULK))
    await asyncio.sleep(0.1)
    assert not asking.done()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.embedding.endpoint.free_ports", lambda count: [port])
        with embedding_server():
            assert (await asking).shape == (1, 64)
    await provider.close()


async def test_who_waits_for_an_answer_is_told_soon_and_bulk_work_goes_on(
    server: EmbeddingServer,
) -> None:
    async with opened(server) as provider:
        server.faults.extend([status(500, "out of memory")] * 10_000)
        began = time.monotonic()
        bulk = asyncio.create_task(embed(provider, ["text"], Lane.BULK))

        with pytest.raises(Unavailable, match="out of memory") as failed:
            await embed(provider, ["text"])

        assert time.monotonic() - began < 2
        assert failed.value.retry_after is not None
        assert not bulk.done()
        server.faults.clear()
        assert (await bulk).shape == (1, 64)


async def test_the_patience_holds_for_a_server_that_hangs(server: EmbeddingServer) -> None:
    async with opened(server) as provider:
        server.faults.append(hang())
        began = time.monotonic()

        with pytest.raises(Unavailable, match="no answer in 1 seconds"):
            await embed(provider, ["text"])

        assert time.monotonic() - began < 2


# Rates


@pytest.mark.parametrize("as_date", [False, True])
async def test_nobody_asks_before_the_time_that_the_server_named(
    server: EmbeddingServer, as_date: bool
) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.faults.append(status(429, retry_after=at if as_date else "0.7"))
    async with opened(server) as provider:
        limited = asyncio.create_task(embed(provider, ["limited"], Lane.BULK))
        while not server.asked:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        await asyncio.gather(
            limited, *(embed(provider, [f"other {n}"], Lane.BULK) for n in range(3))
        )

    first, *others = [asked.at for asked in server.asked]
    # A date has whole seconds.
    assert min(others) - first >= (0.9 if as_date else 0.69)


async def test_a_pause_beyond_the_patience_is_told_at_once(server: EmbeddingServer) -> None:
    server.faults.append(status(429, retry_after="120"))
    async with opened(server) as provider:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(Unavailable) as told:
                await embed(provider, ["text"])
            assert told.value.retry_after == pytest.approx(120, abs=2)
            assert time.monotonic() - began < 0.9

    assert len(server.asked) == 1


async def test_requests_at_once_are_bounded_and_a_question_passes_bulk_work() -> None:
    with embedding_server(seconds=0.1) as server:
        async with opened(server, batch=1) as provider:
            bulk = asyncio.create_task(embed(provider, texts(30), Lane.BULK))
            while server.running < CONCURRENCY:
                await asyncio.sleep(0.005)
            began = time.monotonic()
            await provider.embed(["question"], purpose=Purpose.QUERY)
            assert time.monotonic() - began < 0.3
            assert not bulk.done()
            await bulk

    assert server.most_running == CONCURRENCY + 1


# Answers that are wrong


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda data: data[:-1], Unavailable, "2 vectors, not one each for 3 texts"),
        (lambda data: [*data, data[0]], Unavailable, "4 vectors, not one each for 3 texts"),
        (lambda data: [data[0], data[0], data[1]], Unavailable, "not one each"),
        (lambda data: data[0], Unavailable, "no list of vectors"),
        (lambda data: [{"index": n} for n in range(3)], Unavailable, "no list of vectors"),
        (lambda data: [item | {"embedding": "%%%"} for item in data], Unavailable, "no list"),
        (lambda data: [item | {"embedding": "QUJD"} for item in data], Unavailable, "no list"),
        (lambda data: [item | {"embedding": [[1.0]]} for item in data], Unavailable, "no list"),
        (lambda data: [item | {"embedding": []} for item in data], Unavailable, "no list"),
        (
            lambda data: [item | {"embedding": [1.0] * 63} for item in data],
            EmbeddingMismatch,
            "63 dimensions, and 64",
        ),
        (
            lambda data: data[:2] + [data[2] | {"embedding": encoded([np.nan] * 64, "base64")}],
            Unavailable,
            "NaN or infinity for text 2",
        ),
        (
            lambda data: [item | {"embedding": [None] * 64} for item in data],
            Unavailable,
            "NaN or infinity for text 0",
        ),
        (
            lambda data: [data[0], data[1] | {"embedding": [0.0] * 64}, data[2]],
            InvalidInput,
            "zeros of text 1",
        ),
    ],
)
async def test_a_wrong_answer_is_refused(
    server: EmbeddingServer, change: Any, error: type[Exception], message: str
) -> None:
    async with opened(server) as provider:
        server.faults.append(instead(change))

        with pytest.raises(error, match=message):
            await embed(provider, texts(3))

        assert len(server.asked) == 1
        assert (await embed(provider, texts(3))).shape == (3, 64)


async def test_very_long_vectors_are_shortened_without_overflow(server: EmbeddingServer) -> None:
    server.faults.append(instead(lambda data: [data[0] | {"embedding": [1e30] * 64}]))
    async with opened(server) as provider:
        assert np.allclose(await embed(provider, ["text"]), 1 / 8)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (400, InvalidInput, "refuses the texts: 400 the reason"),
        (413, InvalidInput, "refuses the texts"),
        (422, InvalidInput, "refuses the texts"),
        (401, ConfigurationError, "lets us not in: 401 the reason"),
        (403, ConfigurationError, "lets us not in"),
        (404, ConfigurationError, "does not serve fake: 404 the reason"),
        (307, ConfigurationError, "does not serve fake"),
    ],
)
async def test_a_refusal_is_not_repeated_and_says_what_to_change(
    server: EmbeddingServer, code: int, error: type[Exception], message: str
) -> None:
    server.faults.append(status(code, "the reason"))
    async with opened(server) as provider:
        with pytest.raises(error, match=message):
            await embed(provider, ["text"])

    assert len(server.asked) == 1


async def test_one_failed_batch_ends_the_others(server: EmbeddingServer) -> None:
    server.faults.extend([status(400), hang(), hang(), hang()])
    async with opened(server, batch=1) as provider:
        began = time.monotonic()
        with pytest.raises(InvalidInput):
            await embed(provider, texts(12), Lane.BULK)
        assert time.monotonic() - began < 2
        while server.running:
            await asyncio.sleep(0.01)
    assert len(server.asked) <= 5


# What nobody else may see


async def test_the_key_goes_to_the_server_and_nowhere_else(server: EmbeddingServer) -> None:
    server.faults.extend([status(500, f"{KEY} met a bug"), status(401, f"wrong key {KEY}")])
    with structlog.testing.capture_logs() as logs:
        async with opened(server, api_key=SecretStr(KEY)) as provider:
            with pytest.raises(ConfigurationError) as refused:
                await embed(provider, ["text"])

    assert server.asked[0].authorization == f"Bearer {KEY}"
    assert logs
    assert KEY not in f"{refused.value} {logs}"


async def test_a_password_in_the_url_is_not_shown() -> None:
    (port,) = free_ports(1)
    url = f"http://user:{KEY}@{LOOPBACK}:{port}/v1"
    settings = EmbeddingSettings(provider="http", url=url, model="fake")
    provider = await open_endpoint(settings, dimension=4, patience={Lane.INTERACTIVE: 0.01})

    with pytest.raises(Unavailable, match=f"{LOOPBACK}:{port}/v1") as failed:
        await embed(provider, ["text"])

    assert KEY not in str(failed.value)
    await provider.close()
