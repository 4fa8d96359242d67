"""Which models a server embeds with, and that each is opened once."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quire.embedding import embedders as registry
from quire.embedding.embedders import EXTERNAL, Embedders
from quire.embedding.fake import FakeProvider
from quire.embedding.minilm import IDENTITY as MINILM
from quire.embedding.port import Identity
from quire.errors import (
    ConfigurationError,
    Conflict,
    EmbeddingMismatch,
    InvalidInput,
    Unavailable,
)
from quire.settings import EmbeddingSettings
from tests.backends.ports import LOOPBACK, free_ports
from tests.embedding.endpoint import EmbeddingServer, embedding_server, status

FAKE = Identity("fake", "fake", "1", 384)


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddingServer]:
    with embedding_server() as server:
        yield server


@pytest.fixture
def server(running: EmbeddingServer) -> EmbeddingServer:
    running.forget()
    return running


@asynccontextmanager
async def opened(data_dir: Path, **given: Any) -> AsyncIterator[Embedders]:
    embedders = await Embedders.open(EmbeddingSettings(**given), data_dir)
    try:
        yield embedders
    finally:
        await embedders.close()


def endpoint(server: EmbeddingServer, **given: Any) -> dict[str, Any]:
    return {"provider": "http", "url": server.url, "model": "one", **given}


async def test_the_default_identity_needs_no_model_where_it_is_known(tmp_path: Path) -> None:
    async with opened(tmp_path) as embedders:
        assert await embedders.default() == MINILM
        assert await embedders.resolve(None, None) == MINILM
    async with opened(tmp_path, provider="fake", model="mine", dimension=16) as embedders:
        assert await embedders.default() == Identity("fake", "mine", "1", 16)


async def test_what_was_made_once_can_be_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as embedders:
        embedder = await embedders.of(MINILM)
        assert embedder.identity == MINILM
        assert len(await embedder.query("a question")) == 384
        assert await embedders.of(MINILM) is embedder


async def test_a_model_is_opened_once_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeProvider] = []

    def make(*args: Any, **kwargs: Any) -> FakeProvider:
        made.append(FakeProvider(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(registry, "FakeProvider", make)
    async with opened(tmp_path, provider="fake") as embedders:
        got = await asyncio.gather(*(embedders.of(FAKE) for _ in range(20)))

    assert len(set(map(id, got))) == 1
    assert len(made) == 1
    with pytest.raises(Unavailable):
        await made[0].embed(["text"], purpose="query")


@pytest.mark.parametrize(
    "other",
    [
        replace(FAKE, revision="2"),
        replace(FAKE, dimension=128),
        replace(FAKE, model="another"),
        replace(MINILM, revision="0" * 64),
        Identity("sentence-transformers", "some/model", "", 384),
        Identity("http", "fake", "", 384),
        Identity("unheard-of", "fake", "", 384),
    ],
)
async def test_another_identity_is_refused_and_both_are_named(
    tmp_path: Path, other: Identity
) -> None:
    async with opened(tmp_path, provider="fake") as embedders:
        with pytest.raises(EmbeddingMismatch) as refused:
            await embedders.of(other)

        assert str(other) in refused.value.message
        own = MINILM if other.provider == "minilm" else FAKE
        assert f"{own.provider}:{own.model}" in refused.value.message
        assert "reembed" in refused.value.recovery
        assert (await embedders.of(FAKE)).identity == FAKE


async def test_vectors_that_are_brought_along_are_not_made(tmp_path: Path) -> None:
    async with opened(tmp_path) as embedders:
        with pytest.raises(Conflict, match="brought by a pipeline") as refused:
            await embedders.of(Identity(EXTERNAL, EXTERNAL, "", 8))
        assert not isinstance(refused.value, EmbeddingMismatch)


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        (None, None, FAKE),
        ("fake", None, FAKE),
        (None, "fake", FAKE),
        ("fake", "second", replace(FAKE, model="second")),
        (None, "third", replace(FAKE, model="third")),
        ("minilm", None, MINILM),
        (None, MINILM.model, MINILM),
        ("minilm", MINILM.model, MINILM),
    ],
)
async def test_a_request_may_name_what_the_settings_name(
    tmp_path: Path, provider: str | None, model: str | None, expected: Identity
) -> None:
    async with opened(tmp_path, provider="fake", models=" second,, third ,second") as embedders:
        assert await embedders.resolve(provider, model) == expected


@pytest.mark.parametrize(
    ("provider", "model", "field"),
    [
        ("fake", "fourth", "model"),
        (None, "/etc", "model"),
        ("sentence-transformers", "/etc", "model"),
        ("sentence-transformers", None, "provider"),
        ("minilm", "fake", "model"),
        ("external", None, "provider"),
        ("", "", "model"),
    ],
)
async def test_a_request_may_name_nothing_else(
    tmp_path: Path, provider: str | None, model: str | None, field: str
) -> None:
    async with opened(tmp_path, provider="fake", models="second") as embedders:
        choices = f"there are fake:fake, fake:second, minilm:{MINILM.model}"
        with pytest.raises(InvalidInput, match=re.escape(choices)) as no:
            await embedders.resolve(provider, model)
        assert no.value.field == field


async def test_models_of_other_names_make_other_vectors(tmp_path: Path) -> None:
    async with opened(tmp_path, provider="fake", models="second") as embedders:
        one = await (await embedders.of(FAKE)).query("the same words")
        other = await (await embedders.of(replace(FAKE, model="second"))).query("the same words")

    assert abs(np.dot(one, other)) < 0.3


async def test_an_endpoint_is_asked_once_for_what_it_makes(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    async with opened(tmp_path, **endpoint(server, models="two")) as embedders:
        identities = await asyncio.gather(*(embedders.default() for _ in range(5)))
        assert set(identities) == {Identity("http", "one", "", 64)}
        assert await embedders.resolve(None, "two") == Identity("http", "two", "", 64)

        assert [asked.model for asked in server.asked] == ["one", "two"]


async def test_a_pinned_identity_needs_no_asking_and_no_endpoint_to_open(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    given = {"provider": "http", "url": f"http://{LOOPBACK}:{port}/v1", "model": "one"}
    async with opened(tmp_path, **given) as embedders:
        pinned = Identity("http", "one", "", 64)
        assert (await embedders.of(pinned)).identity == pinned


async def test_an_endpoint_that_makes_another_dimension_now_is_found_out(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    async with opened(tmp_path, **endpoint(server)) as embedders:
        embedder = await embedders.of(Identity("http", "one", "", 32))
        with pytest.raises(EmbeddingMismatch, match="64 dimensions, and 32"):
            await embedder.query("text")


async def test_a_failed_opening_is_tried_again(tmp_path: Path, server: EmbeddingServer) -> None:
    server.faults.append(status(401))
    async with opened(tmp_path, **endpoint(server)) as embedders:
        with pytest.raises(ConfigurationError):
            await embedders.default()
        identity = await embedders.default()
        assert (await embedders.of(identity)).identity == identity


async def test_nothing_is_opened_once_closed(tmp_path: Path) -> None:
    async with opened(tmp_path, provider="fake") as embedders:
        embedder = await embedders.of(FAKE)
    await embedders.close()

    with pytest.raises(Unavailable):
        await embedder.query("text")
    with pytest.raises(Unavailable):
        await embedders.of(FAKE)


async def test_a_missing_library_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigurationError) as told:
        await Embedders.open(EmbeddingSettings(provider="sentence-transformers"), tmp_path)

    assert "pip install 'quire[sentence-transformers]'" in told.value.recovery


# The fake


async def test_texts_that_share_words_are_near_for_the_fake() -> None:
    near, far, text = FakeProvider().vectors(
        ["the old dog sleeps here", "ships left at dawn today", "The old dog sleeps there."]
    )
    assert text @ near > 0.6
    assert text @ far < 0.3


@pytest.mark.parametrize("dimension", [1, 2, 8, 384])
async def test_the_fake_is_the_same_everywhere_and_always(dimension: int) -> None:
    one, other = FakeProvider(dimension), FakeProvider(dimension)
    assert np.array_equal(one.vectors(["a text", ""]), other.vectors(["a text", ""]))


async def test_the_fake_is_quick() -> None:
    provider = FakeProvider()
    texts = [f"chunk {n} with some words in it, as chunks have them." for n in range(500)]
    provider.vectors(texts)
    began = time.perf_counter()
    provider.vectors(texts)
    assert 500 / (time.perf_counter() - began) > 2_000
