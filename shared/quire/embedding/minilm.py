"""The default provider: all-MiniLM-L6-v2, on this machine's cores.

Queries and bulk work have threads of their own, and those for bulk work run at a lower priority,
so that a query neither waits behind a batch nor shares the cores with one as an equal.

The tokeniser and the runtimes keep native threads, which a fork does not carry over: a process
that has opened this provider may start others, but not fork and go on embedding in the child.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from quire.embedding.kept_graph import kept_graph
from quire.embedding.port import EmbeddingProvider, Identity, Lane, Purpose, Vectors
from quire.embedding.priority import give_way
from quire.embedding.tokenizer import Part, Tokenizer, Tokens
from quire.embedding.weights import FILES, MODEL, WeightsUnavailable, find_weights
from quire.errors import ConfigurationError, Unavailable
from quire.settings import EmbeddingSettings

MINILM_MODEL = MODEL
WINDOW, DIMENSION = 254, 384
IDENTITY = Identity("minilm", MINILM_MODEL, FILES[0].sha256, DIMENSION)

INTERACTIVE_THREADS = 4
PARTS = 2
"""So many parts a thread in one call: the wait for the last one is then short beside the whole."""


class Runtime(Protocol):
    """What runs the graph."""

    rows: int
    """How many texts at once are quickest on one thread."""

    def run(self, tokens: Tokens, lane: Lane) -> Vectors: ...


async def open_minilm(settings: EmbeddingSettings, data_dir: Path) -> EmbeddingProvider:
    """Load the model, from weights that are on this machine; no network is used.

    Raises `WeightsUnavailable` if they are not, and `ConfigurationError` if the runtime that the
    settings name is not installed.
    """
    return await asyncio.to_thread(_load, settings, data_dir)


class MiniLM:
    """The default model, loaded."""

    def __init__(
        self, tokenizer: Tokenizer, runtime: Runtime, *, threads: int, batch: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._batch = batch or runtime.rows * PARTS * threads
        self._interactive = ThreadPoolExecutor(INTERACTIVE_THREADS, "embed-query")
        self._bulk = ThreadPoolExecutor(threads, "embed-bulk", give_way)
        # Apart from the others, or the next batch's tokens would wait for this batch's vectors.
        self._tokenising = ThreadPoolExecutor(1, "embed-tokens", give_way)
        self._closed = False

    @property
    def identity(self) -> Identity:
        """The weights' digest is the revision: the runtimes differ by less than a rounding."""
        return IDENTITY

    @property
    def window(self) -> int:
        """The most tokens that one text may have."""
        return WINDOW

    @property
    def batch(self) -> int:
        """Enough for every bulk thread."""
        return self._batch

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Exactly as many as the model will see. Blocking, without the GIL."""
        return self._tokenizer.count(texts)

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose, lane: Lane = Lane.INTERACTIVE
    ) -> Vectors:
        """One vector a text; questions and passages are the same to this model."""
        if self._closed:
            raise Unavailable("The embedding model is closed")
        if not texts:
            return np.empty((0, DIMENSION), np.float32)
        loop = asyncio.get_running_loop()
        if lane is Lane.INTERACTIVE:
            return await loop.run_in_executor(self._interactive, self._embed_here, texts)
        parts = await loop.run_in_executor(self._tokenising, self._parts, texts, lane)
        vectors = await asyncio.gather(
            *(
                loop.run_in_executor(self._bulk, self._runtime.run, part.tokens, lane)
                for part in parts
            )
        )
        return _in_order(len(texts), parts, vectors)

    async def close(self) -> None:
        """Let what is under way finish, and end the threads."""
        self._closed = True
        for pool in (self._interactive, self._tokenising, self._bulk):
            await asyncio.to_thread(pool.shutdown)

    def _embed_here(self, texts: Sequence[str]) -> Vectors:
        parts = self._parts(texts, Lane.INTERACTIVE)
        vectors = [self._runtime.run(part.tokens, Lane.INTERACTIVE) for part in parts]
        return _in_order(len(texts), parts, vectors)

    def _parts(self, texts: Sequence[str], lane: Lane) -> list[Part]:
        return self._tokenizer.parts(texts, self._runtime.rows, lane)


def _load(settings: EmbeddingSettings, data_dir: Path) -> MiniLM:
    weights = find_weights(data_dir)
    if weights is None:
        raise WeightsUnavailable(
            f"The weights of {MINILM_MODEL} are not on this machine",
            recovery="Run `quire weights`, once, or set QUIRE_EMBEDDING_PROVIDER to another one.",
        )
    threads = settings.threads or len(os.sched_getaffinity(0))
    runtime = _runtime(settings)(kept_graph(weights), threads)
    tokenizer = Tokenizer(weights.tokenizer, WINDOW)
    return MiniLM(tokenizer, runtime, threads=threads, batch=settings.batch)


class _OpenRuntime(Protocol):
    def __call__(self, graph: bytes, threads: int) -> Runtime: ...


def _runtime(settings: EmbeddingSettings) -> _OpenRuntime:
    has_openvino = find_spec("openvino") is not None
    if settings.runtime == "openvino" and not has_openvino:
        raise ConfigurationError(
            "QUIRE_EMBEDDING_RUNTIME=openvino, but OpenVINO is not installed",
            recovery="Install `quire[openvino]`, or set it to onnxruntime.",
        )
    if has_openvino and settings.runtime != "onnxruntime":
        from quire.embedding.openvino_runtime import OpenvinoRuntime  # noqa: PLC0415

        return OpenvinoRuntime
    from quire.embedding.onnx_runtime import OnnxRuntime  # noqa: PLC0415

    return OnnxRuntime


def _in_order(count: int, parts: Sequence[Part], vectors: Sequence[Vectors]) -> Vectors:
    ordered = np.empty((count, DIMENSION), np.float32)
    for part, rows in zip(parts, vectors, strict=True):
        ordered[part.positions] = rows
    return ordered
