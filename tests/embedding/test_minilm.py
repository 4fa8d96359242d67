"""The default model: as sentence-transformers has it, nothing truncated, and no query waits."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quire.embedding import minilm
from quire.embedding.kept_graph import kept_graph
from quire.embedding.minilm import IDENTITY, WINDOW, open_minilm
from quire.embedding.port import EmbeddingProvider, Lane, Purpose, Vectors
from quire.embedding.priority import NICENESS
from quire.embedding.weights import FILES, Weights, WeightsUnavailable, find_weights
from quire.errors import ConfigurationError, InvalidInput, Unavailable
from quire.settings import EmbeddingSettings
from tests.embedding.reference_model import reference_model

TEXTS = [
    "",
    "A quire is a gathering of leaves.",
    "Ein Wörterbuch mit Umlauten, dann 漢字 und 한글 und 🙂.",
    "word " * WINDOW,
    *("The length of this text differs from that of its neighbours. " * n for n in range(1, 8)),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    found = find_weights(tmp_path_factory.mktemp("none"))
    if found is None:
        pytest.fail("the default model's weights are not here: run `quire weights`")
    return found


@pytest.fixture
def own(weights: Weights, tmp_path: Path) -> Weights:
    """The weights in a folder of this test's own, without a graph."""
    for file in (weights.model, weights.tokenizer):
        (tmp_path / file.name).symlink_to(file)
    return Weights(tmp_path)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def provider(request: pytest.FixtureRequest, weights: Weights) -> Iterator[EmbeddingProvider]:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    settings = EmbeddingSettings(runtime=request.param, threads=2)
    provider = asyncio.run(open_minilm(settings, weights.directory))
    yield provider
    asyncio.run(provider.close())


@pytest.fixture(scope="module")
def reference(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    """What sentence-transformers makes of the texts."""
    transformers = pytest.importorskip("sentence_transformers")
    folder = reference_model(tmp_path_factory.mktemp("reference"))
    model = transformers.SentenceTransformer(str(folder), device="cpu")
    vectors: Vectors = model.encode(TEXTS, show_progress_bar=False)
    return vectors


async def test_vectors_are_those_of_the_reference(
    provider: EmbeddingProvider, reference: Vectors
) -> None:
    for lane in Lane:
        vectors = await provider.embed(TEXTS, purpose=Purpose.PASSAGE, lane=lane)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        assert (vectors * reference).sum(axis=1).min() >= 0.9999


async def test_a_text_over_the_window_is_refused_and_named(provider: EmbeddingProvider) -> None:
    for lane in Lane:
        with pytest.raises(InvalidInput, match=r"Text 1 has 255 tokens.* 254"):
            await provider.embed(["fits", "word " * 255], purpose=Purpose.PASSAGE, lane=lane)


async def test_tokens_are_counted_past_the_window(provider: EmbeddingProvider) -> None:
    assert provider.window == WINDOW
    assert provider.count_tokens(["", "hello world", "word " * 1000]) == [0, 2, 1000]


async def test_a_lone_surrogate_is_refused(provider: EmbeddingProvider) -> None:
    for lane in Lane:
        with pytest.raises(InvalidInput, match="surrogate at character 2"):
            await provider.embed(["ab\ud800"], purpose=Purpose.PASSAGE, lane=lane)


async def test_no_texts_are_no_vectors(provider: EmbeddingProvider) -> None:
    assert (await provider.embed([], purpose=Purpose.PASSAGE)).shape == (0, 384)


async def test_closed_it_says_so(weights: Weights) -> None:
    provider = await open_minilm(EmbeddingSettings(runtime="onnxruntime"), weights.directory)
    await provider.close()
    with pytest.raises(Unavailable, match="closed"):
        await provider.embed(["text"], purpose=Purpose.QUERY)


async def test_a_question_does_not_wait_for_bulk_work(provider: EmbeddingProvider) -> None:
    async def ask(times: int) -> float:
        took = []
        for _ in range(times):
            started = time.perf_counter()
            await provider.embed(["How long is a question kept?"], purpose=Purpose.QUERY)
            took.append(time.perf_counter() - started)
        return statistics.median(took)

    texts = ["word " * 250] * 4 * provider.batch
    bulk = asyncio.create_task(provider.embed(texts, purpose=Purpose.PASSAGE, lane=Lane.BULK))
    await asyncio.sleep(0.2)
    median = await ask(15)
    assert not bulk.done(), "there was nothing to wait for"
    bulk.cancel()
    await asyncio.gather(bulk, return_exceptions=True)
    idle = await ask(15)
    # The bench measures how near they are; in a busy test run only the order of size is sure.
    assert median <= max(10 * idle, 0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's own on Linux only")
async def test_bulk_threads_give_way_and_others_do_not(provider: EmbeddingProvider) -> None:
    texts = TEXTS * 2
    await provider.embed(texts, purpose=Purpose.PASSAGE, lane=Lane.BULK)
    await provider.embed(texts[:1], purpose=Purpose.QUERY)
    niceness = {
        thread.name.partition("_")[0]: os.getpriority(os.PRIO_PROCESS, thread.native_id)
        for thread in threading.enumerate()
        if thread.native_id
    }
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness["embed-bulk"] == niceness["embed-tokens"] == max(own, NICENESS)
    assert niceness["embed-query"] == own


def test_the_graph_is_built_once_and_kept_beside_the_weights(own: Weights) -> None:
    graph = kept_graph(own)
    (path,) = own.directory.glob("*.onnx")
    assert path.read_bytes() == graph
    assert path.stem.endswith(hashlib.sha256(graph).hexdigest())
    written = path.stat().st_mtime_ns
    assert kept_graph(own) == graph
    assert path.stat().st_mtime_ns == written


def test_a_damaged_graph_is_built_anew(own: Weights) -> None:
    graph = kept_graph(own)
    (path,) = own.directory.glob("*.onnx")
    path.write_bytes(graph[:-1] + b"?")
    assert kept_graph(own) == graph
    assert path.read_bytes() == graph


def test_where_the_graph_cannot_be_kept_it_is_built(
    own: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert len(kept_graph(own)) > 80_000_000
    assert not [*own.directory.glob("*.onnx")]


async def test_without_weights_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsUnavailable) as raised:
        await open_minilm(EmbeddingSettings(), tmp_path)
    assert "quire weights" in raised.value.recovery


async def test_a_runtime_that_is_not_installed_is_named(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="QUIRE_EMBEDDING_RUNTIME=openvino"):
        await open_minilm(EmbeddingSettings(runtime="openvino"), weights.directory)


def test_the_identity_is_known_without_loading_anything() -> None:
    assert (IDENTITY.provider, IDENTITY.dimension) == ("minilm", 384)
    assert IDENTITY.revision == FILES[0].sha256
    heavy = "{'torch', 'transformers', 'onnx', 'onnxruntime', 'openvino'}"
    check = f"import sys, quire.embedding.minilm; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
