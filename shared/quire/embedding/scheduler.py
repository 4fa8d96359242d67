"""Who is embedded when: questions at once, bulk work in full batches and fair between callers."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quire.embedding.port import EmbeddingProvider, Identity, Lane, Purpose, Vectors
from quire.errors import InvalidInput, Unavailable

REMEMBERED = 256
"""Questions whose vectors are kept: the same are asked again, page by page."""

WORKERS = 2
"""Batches under way: the next one's tokens are ready when this one's vectors are."""

_SPACE = re.compile(r"\s+")


class Embedder:
    """A provider as the product uses it, shared by all sessions that are pinned to its identity.

    Of all the texts that callers of `passages` wait for, at most `queue` are read ahead; the rest
    stays with the callers, who wait.
    """

    def __init__(self, provider: EmbeddingProvider, *, queue: int = 256) -> None:
        self._provider = provider
        self._queue = queue
        self._remembered: OrderedDict[str, tuple[float, ...]] = OrderedDict()
        self._open: set[_Call] = set()
        self._turns: deque[_Call] = deque()
        self._has_work = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._closed = False

    @property
    def identity(self) -> Identity:
        """What the vectors are made with."""
        return self._provider.identity

    @property
    def window(self) -> int:
        """The most tokens that one passage may have."""
        return self._provider.window

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has. Blocking, for worker threads."""
        return self._provider.count_tokens(texts)

    async def query(self, text: str) -> list[float]:
        """A question's vector, before any bulk work.

        A question longer than the window is cut in halves, at words, until each piece fits; the
        answer is the mean of the pieces, at length 1. They are of about the same length, so each
        word weighs about the same.
        """
        self._require_open()
        if (known := self._remembered.get(text)) is not None:
            self._remembered.move_to_end(text)
            return list(known)
        vector = tuple((await self._embed_query(text)).tolist())
        self._remembered[text] = vector
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return list(vector)

    async def passages(self, texts: Sequence[str]) -> Vectors:
        """One vector a text, in their order; any number of texts.

        Raises `InvalidInput` if one is longer than the window; nothing is embedded truncated. A
        caller that is cancelled takes its texts along.
        """
        self._require_open()
        if not texts:
            return np.empty((0, self.identity.dimension), np.float32)
        if not self._workers:
            self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        call = _Call(texts, self.identity.dimension)
        self._open.add(call)
        self._turns.append(call)
        self._has_work.set()
        try:
            return await call.answer
        finally:
            self._drop(call)

    async def close(self) -> None:
        """Fail whoever waits with `Unavailable`, and close the provider."""
        self._closed = True
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for call in list(self._open):
            call.fail(_closed())
        await self._provider.close()

    async def _embed_query(self, text: str) -> Vectors:
        try:
            vectors = await self._provider.embed([text], purpose=Purpose.QUERY)
        except InvalidInput:
            pieces = await asyncio.to_thread(self._pieces, text)
            if len(pieces) == 1:
                raise
            vectors = await self._provider.embed(pieces, purpose=Purpose.QUERY)
        mean: Vectors = vectors.mean(axis=0)
        return mean / np.linalg.norm(mean) if len(vectors) > 1 else mean

    def _pieces(self, text: str) -> list[str]:
        if len(text) < 2 or self.count_tokens([text])[0] <= self.window:
            return [text]
        middle = len(text) // 2
        spaces = (space.end() for space in _SPACE.finditer(text, 1) if space.end() < len(text))
        cut = min(spaces, key=lambda at: abs(at - middle), default=middle)
        return self._pieces(text[:cut]) + self._pieces(text[cut:])

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            await self._embed(self._next_batch())
            # A provider may answer at once; the others on the event loop are to have their turn.
            await asyncio.sleep(0)

    def _next_batch(self) -> list[_Text]:
        """A batch of the caller whose turn it is: its oldest text and those most like it in length.

        A caller that cannot fill a batch shares it with the others.
        """
        size, share = self._provider.batch, max(1, self._queue // len(self._turns))
        turn = self._turns[0]
        self._turns.rotate(-1)
        turn.read(share)
        length = turn.waiting[0].length
        batch = _nearest(turn.waiting, length, size)
        if len(batch) < size:
            others = [call for call in list(self._turns)[: self._queue] if call is not turn]
            for call in others:
                call.read(share)
            shared = [text for call in others for text in call.waiting]
            batch += _nearest(shared, length, size - len(batch))
        for call in {text.call for text in batch}:
            call.take(batch)
            if call.is_taken:
                self._leave(call)
        return batch

    async def _embed(self, batch: list[_Text]) -> None:
        """Embed a batch and hand out its vectors; what fails, fails for its caller alone."""
        calls = list(dict.fromkeys(text.call for text in batch))
        try:
            vectors = await self._provider.embed(
                [text.content for text in batch], purpose=Purpose.PASSAGE, lane=Lane.BULK
            )
        except InvalidInput as error:
            if len(calls) == 1:
                self._fail(calls[0], error)
                return
            for call in calls:
                await self._embed([text for text in batch if text.call is call])
        except Exception as error:  # raised where it is waited for
            for call in calls:
                self._fail(call, error)
        else:
            for text, vector in zip(batch, vectors, strict=True):
                text.call.put(text.position, vector)

    def _fail(self, call: _Call, error: Exception) -> None:
        call.fail(error)
        self._drop(call)

    def _drop(self, call: _Call) -> None:
        self._open.discard(call)
        self._leave(call)

    def _leave(self, call: _Call) -> None:
        """Nothing more of this call is to be embedded."""
        if call in self._turns:
            self._turns.remove(call)
        if not self._turns:
            self._has_work.clear()

    def _require_open(self) -> None:
        if self._closed:
            raise _closed()


class _Call:
    """One caller's texts on their way to becoming vectors."""

    def __init__(self, texts: Sequence[str], dimension: int) -> None:
        self.answer: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self.waiting: list[_Text] = []
        self._texts = texts
        self._read = 0
        self._vectors = np.empty((len(texts), dimension), np.float32)
        self._missing = len(texts)

    @property
    def is_taken(self) -> bool:
        return not self.waiting and self._read == len(self._texts)

    def read(self, share: int) -> None:
        """Read ahead until so many texts wait; a call that has a turn has one that waits."""
        until = min(len(self._texts), self._read + share - len(self.waiting))
        for position in range(self._read, until):
            content = self._texts[position]
            # In bytes: across languages, nearer to the number of tokens than characters are.
            length = len(content.encode(errors="surrogatepass"))
            self.waiting.append(_Text(self, position, content, length))
        self._read = max(self._read, until)

    def take(self, batch: Sequence[_Text]) -> None:
        taken = {text.position for text in batch if text.call is self}
        self.waiting = [text for text in self.waiting if text.position not in taken]

    def put(self, position: int, vector: Vectors) -> None:
        self._vectors[position] = vector
        self._missing -= 1
        if not self._missing and not self.answer.done():
            self.answer.set_result(self._vectors)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    call: _Call
    position: int
    content: str
    length: int


def _nearest(texts: Sequence[_Text], length: int, count: int) -> list[_Text]:
    return heapq.nsmallest(count, texts, key=lambda text: abs(text.length - length))


def _closed() -> Unavailable:
    return Unavailable("The embedding model is closed")
