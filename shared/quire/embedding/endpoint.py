"""An OpenAI-compatible endpoint (Text Embeddings Inference, Ollama, vLLM …): a GPU, or a fleet."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import httpx
import numpy as np
import orjson
import structlog
from numpy.typing import NDArray

from quire.embedding.pace import Pace, pause_before, seconds_asked
from quire.embedding.port import Identity, Lane, Purpose, Vectors
from quire.embedding.units import unit_vectors
from quire.embedding.window import Prefixes, TokenCounter, Window, prefix_mark
from quire.errors import ConfigurationError, EmbeddingMismatch, InvalidInput, Unavailable
from quire.settings import EmbeddingSettings

log = structlog.get_logger(__name__)

PROVIDER = "http"
BATCH, LIMIT = 32, 512
# Requests of each lane under way at once: a server batches what it has, so it must have some.
CONCURRENCY = 4
# How long to go on trying: whoever waits for an answer is told soon, bulk work sits out a restart.
PATIENCE: Mapping[Lane, float] = {Lane.INTERACTIVE: 10.0, Lane.BULK: 240.0}
CONNECT_SECONDS = 5.0
QUOTED_CHARS = 300

TOO_MANY = 429
PASSING = {408, 425, TOO_MANY, 500, 502, 503, 504, 529}
NO_ENTRY = {401, 403}
NOT_THERE = {404, 405}

Result = TypeVar("Result")


class Passing(Exception):
    """A failure that may be over in a moment."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


async def open_endpoint(
    settings: EmbeddingSettings,
    model: str | None = None,
    *,
    dimension: int | None = None,
    patience: Mapping[Lane, float] = PATIENCE,
) -> EndpointProvider:
    """The endpoint of the settings; its vectors' dimension is asked for if nobody says it."""
    name = model or settings.model
    if settings.url is None or name is None:
        raise ConfigurationError(
            "QUIRE_EMBEDDING_PROVIDER=http needs QUIRE_EMBEDDING_URL and QUIRE_EMBEDDING_MODEL"
        )
    if settings.tokenizer is None:
        tokens = TokenCounter.in_bytes()
    else:
        tokens = await asyncio.to_thread(TokenCounter.in_file, settings.tokenizer)
    prefixes = Prefixes(settings.query_prefix or "", settings.passage_prefix or "")
    window = Window.of(name, settings.window or LIMIT, tokens, prefixes)
    provider = EndpointProvider(settings, name, window, dimension or 0, patience)
    if dimension is None:
        try:
            await provider.ask_dimension()
        except BaseException:
            await provider.close()
            raise
    return provider


class EndpointProvider:
    """Asks the endpoint in batches, some at once, and again where a failure may pass."""

    def __init__(
        self,
        settings: EmbeddingSettings,
        model: str,
        window: Window,
        dimension: int,
        patience: Mapping[Lane, float] = PATIENCE,
    ) -> None:
        revision = prefix_mark(settings.passage_prefix or None)
        self.identity = Identity(PROVIDER, model, revision, dimension)
        self._size = settings.batch or BATCH
        self._window = window
        self._patience = patience
        self._timeout = settings.timeout_seconds
        self._pace = Pace(CONCURRENCY)
        self._key = settings.api_key.get_secret_value() if settings.api_key else ""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._url = httpx.URL(f"{(settings.url or '').rstrip('/')}/embeddings")
        # As it is shown: without a password that stands in it.
        self._place = str(self._url.copy_with(userinfo=b""))
        self._http = httpx.AsyncClient(
            headers=headers,
            # The whole of a request is timed below; connecting alone must not take that long.
            timeout=httpx.Timeout(self._timeout, connect=min(CONNECT_SECONDS, self._timeout)),
            limits=httpx.Limits(max_connections=2 * CONCURRENCY),
        )

    @property
    def window(self) -> int:
        """The most tokens of text, special tokens and the prefix not counted."""
        return self._window.size

    @property
    def batch(self) -> int:
        """As many texts as keep all requests busy."""
        return self._size * CONCURRENCY

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """TokenCounter by QUIRE_EMBEDDING_TOKENIZER; without it bytes, which are never fewer."""
        return self._window.count(texts)

    async def ask_dimension(self) -> None:
        """Learn the dimension from a vector."""
        raw = await self._ask(["dimension"], Lane.INTERACTIVE)
        name, revision = self.identity.model, self.identity.revision
        self.identity = Identity(PROVIDER, name, revision, int(raw.shape[1]))

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose, lane: Lane = Lane.INTERACTIVE
    ) -> Vectors:
        """One vector a text, in their order."""
        if self._http.is_closed:
            raise Unavailable("The embedding provider is closed")
        if len(texts) > self._size:
            await asyncio.to_thread(self._window.require, texts, purpose)
        else:
            self._window.require(texts, purpose)
        if not texts:
            return np.empty((0, self.identity.dimension), np.float32)
        before = self._window.prefixes.before(purpose)
        whole = [before + text for text in texts]
        starts = range(0, len(whole), self._size)
        raw = await _together(
            [self._expect(whole[start : start + self._size], lane) for start in starts]
        )
        return unit_vectors(np.concatenate(raw), self.identity.model)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _expect(self, texts: Sequence[str], lane: Lane) -> NDArray[Any]:
        raw = await self._ask(texts, lane)
        if raw.shape[1] != self.identity.dimension:
            raise EmbeddingMismatch(
                f"{self.identity.model} answered a vector of {raw.shape[1]} dimensions, and "
                f"{self.identity.dimension} were to come",
                recovery="Set QUIRE_EMBEDDING_DIMENSION to what the model answers, or have the "
                "endpoint serve the model that the vectors were made with.",
            )
        return raw

    async def _ask(self, texts: Sequence[str], lane: Lane) -> NDArray[Any]:
        """Raw vectors for one batch, after as many attempts as the lane has patience for."""
        body = orjson.dumps(
            # Base64 is a tenth of the work to read, and every server must know it, since OpenAI's
            # own client asks for it; numbers are understood as well.
            {"model": self.identity.model, "input": texts, "encoding_format": "base64"}
        )
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience[lane]
        attempt = 0
        while True:
            attempt += 1
            try:
                async with asyncio.timeout_at(deadline), self._pace.turn(lane, deadline):
                    raw = await self._attempt(body, len(texts))
                self._pace.went_well()
                return raw
            except TimeoutError:
                failure = Passing(f"no answer in {self._patience[lane]:g} seconds")
            except Passing as error:
                failure = error
            pause = max(pause_before(attempt), failure.after or 0.0)
            if clock() + pause >= deadline:
                raise Unavailable(
                    f"The embedding endpoint {self._place} does not answer: {failure} "
                    f"(attempt {attempt})",
                    retry_after=max(2.0, pause),
                ) from failure
            log.info("embedding endpoint failed", failure=str(failure), attempt=attempt)
            await asyncio.sleep(pause)

    async def _attempt(self, body: bytes, count: int) -> NDArray[Any]:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._http.post(
                    self._url, content=body, headers={"Content-Type": "application/json"}
                )
        except TimeoutError as error:
            raise Passing(f"no answer in {self._timeout:g} seconds") from error
        except httpx.TransportError as error:
            raise Passing(str(error) or type(error).__name__) from error
        if not answer.is_success:
            raise self._failure(answer)
        return await asyncio.to_thread(_read, answer.content, count, self.identity.model)

    def _failure(self, answer: httpx.Response) -> Exception:
        text = answer.text
        if self._key:
            # Some quote the key that they refuse.
            text = text.replace(self._key, "…")
        said = f"{answer.status_code} {text[:QUOTED_CHARS].strip()}".strip()
        if answer.status_code in PASSING:
            after = seconds_asked(answer.headers.get("Retry-After"))
            if answer.status_code == TOO_MANY or after is not None:
                # Everybody waits, not only the one who was told.
                self._pace.slow_down(pause_before(1) if after is None else after)
            return Passing(said, after)
        if answer.status_code in NO_ENTRY:
            return ConfigurationError(
                f"The embedding endpoint lets us not in: {said}",
                recovery="Set QUIRE_EMBEDDING_API_KEY to a key that it takes.",
            )
        if answer.status_code in NOT_THERE or answer.is_redirect:
            return ConfigurationError(
                f"There is no {self._place}, or it does not serve {self.identity.model}: {said}",
                recovery="Correct QUIRE_EMBEDDING_URL (it ends before `/embeddings`, mostly with "
                "`/v1`) or QUIRE_EMBEDDING_MODEL.",
            )
        return InvalidInput(
            f"The embedding endpoint refuses the texts: {said}",
            recovery="If they are too long or too many for it, lower QUIRE_EMBEDDING_WINDOW or "
            "QUIRE_EMBEDDING_BATCH.",
        )


async def _together(works: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """All results in order; the first failure, as it is, cancels the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _read(content: bytes, count: int, model: str) -> NDArray[Any]:
    """The answer's vectors in the order of the texts."""
    try:
        items = sorted(orjson.loads(content)["data"], key=lambda item: item["index"])
        if [item["index"] for item in items] != list(range(count)):
            raise _bad_answer(model, f"{len(items)} vectors, not one each for {count} texts")
        return np.stack([_vector(item["embedding"]) for item in items])
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_answer(model, f"what is no list of vectors ({error})") from error


def _vector(embedding: object) -> NDArray[Any]:
    if isinstance(embedding, str):
        vector = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    else:
        vector = np.asarray(embedding, np.float64)
    if vector.ndim != 1 or not vector.size:
        raise ValueError("a vector is a list of numbers")
    return vector


def _bad_answer(model: str, what: str) -> Unavailable:
    return Unavailable(
        f"The embedding endpoint answered {what}, for {model}",
        recovery="Check that QUIRE_EMBEDDING_URL is an OpenAI-compatible endpoint, `…/v1`.",
    )
