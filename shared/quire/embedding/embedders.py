"""Which models this server can embed with, each opened once, when it is first needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from quire.embedding import endpoint, fake, sentence_transformer
from quire.embedding.endpoint import open_endpoint
from quire.embedding.fake import FakeProvider
from quire.embedding.minilm import IDENTITY as MINILM
from quire.embedding.minilm import open_minilm
from quire.embedding.port import EXTERNAL, EmbeddingProvider, Identity
from quire.embedding.scheduler import Embedder
from quire.embedding.sentence_transformer import open_sentence_transformer, require_library
from quire.errors import Conflict, EmbeddingMismatch, InvalidInput, Unavailable
from quire.settings import EmbeddingSettings


class Embedders:
    """The configured provider with its models, and the default model, which is always there.

    A model that no setting names is never opened: requests name models, and a path or a hub's name
    would let them read this machine's files or fetch what they like.
    """

    def __init__(self, settings: EmbeddingSettings, data_dir: Path) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._opened: dict[Identity, Embedder] = {}
        self._learnt: dict[str, Identity] = {}
        # One at a time: two models loading side by side are no sooner ready, and take more memory.
        self._opening = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, settings: EmbeddingSettings, data_dir: Path) -> Embedders:
        """Check what can be checked at once; models are loaded when they are needed.

        Raises `ConfigurationError` where the configured provider is not installed.
        """
        if settings.provider == sentence_transformer.PROVIDER:
            await asyncio.to_thread(require_library)
        return cls(settings, data_dir)

    async def default(self) -> Identity:
        """What new sessions are pinned to.

        Known at once for minilm and the fake; otherwise the model is opened for it, once.
        """
        provider = self._settings.provider
        return MINILM if provider == MINILM.provider else await self._identify(self._models[0])

    async def resolve(self, provider: str | None, model: str | None) -> Identity:
        """The identity of a model that a request names, by provider, by model, or by both.

        Raises `InvalidInput` listing the models that there are.
        """
        if provider is None and model is None:
            return await self.default()
        for offered in self._offered():
            if provider in (None, offered[0]) and model in (None, offered[1]):
                return MINILM if offered[0] == MINILM.provider else await self._identify(offered[1])
        choices = ", ".join(f"{name}:{of}" for name, of in self._offered())
        raise InvalidInput(
            f"There is no embedding model {provider or '…'}:{model or '…'} here; "
            f"there are {choices}",
            field="provider" if model is None else "model",
            recovery="Name one of these, or have the operator add it to QUIRE_EMBEDDING_MODELS.",
        )

    async def of(self, identity: Identity) -> Embedder:
        """What embeds with this identity; opened at the first call, however many come at once.

        Raises `EmbeddingMismatch` where this server would make other vectors, and `Conflict` where
        vectors are brought along and none are made.
        """
        if (embedder := self._opened.get(identity)) is not None:
            return embedder
        if identity.provider == EXTERNAL:
            raise Conflict(
                f"The vectors here are brought by a pipeline ({identity}), so text cannot be "
                "embedded",
                recovery="Send vectors instead of text, or move the session to a model of this "
                "server: POST /sessions/{id}/reembed.",
            )
        self._require_offered(identity)
        async with self._opening:
            return self._opened.get(identity) or await self._open(identity.model, identity)

    async def close(self) -> None:
        """Close every model that was opened."""
        async with self._opening:
            self._closed = True
            opened, self._opened = self._opened, {}
            for embedder in opened.values():
                await embedder.close()

    @property
    def _models(self) -> list[str]:
        """The configured provider's models, that of new sessions first."""
        provider, first = self._settings.provider, self._settings.model
        if provider == MINILM.provider:
            return [MINILM.model]
        if provider == fake.FAKE:
            first = first or fake.FAKE
        elif provider == sentence_transformer.PROVIDER:
            first = first or sentence_transformer.DEFAULT_MODEL
        more = (name.strip() for name in self._settings.models.split(","))
        return list(dict.fromkeys(name for name in (first, *more) if name))

    def _offered(self) -> list[tuple[str, str]]:
        own = [(self._settings.provider, model) for model in self._models]
        return list(dict.fromkeys([*own, (MINILM.provider, MINILM.model)]))

    def _require_offered(self, identity: Identity) -> None:
        if (identity.provider, identity.model) not in self._offered():
            choices = ", ".join(f"{name}:{model}" for name, model in self._offered())
            raise _mismatch(identity, f"embeds with {choices}")

    async def _identify(self, model: str) -> Identity:
        """A model of the configured provider, as it is now."""
        if self._settings.provider == fake.FAKE:
            return Identity(fake.FAKE, model, fake.REVISION, self._fake_dimension)
        async with self._opening:
            if model not in self._learnt:
                await self._open(model, None)
            return self._learnt[model]

    @property
    def _fake_dimension(self) -> int:
        return self._settings.dimension or fake.DIMENSION

    async def _open(self, model: str, wanted: Identity | None) -> Embedder:
        """Open a model, as it is now or as it was then."""
        if self._closed:
            raise Unavailable("Quire is stopping")
        provider = await self._provider(model, wanted)
        if wanted not in (None, provider.identity):
            await provider.close()
            raise _mismatch(wanted, f"has {provider.identity}")
        if wanted is None:
            self._learnt[model] = provider.identity
            if (embedder := self._opened.get(provider.identity)) is not None:
                await provider.close()
                return embedder
        embedder = Embedder(provider, queue=self._settings.queue)
        self._opened[provider.identity] = embedder
        return embedder

    async def _provider(self, model: str, wanted: Identity | None) -> EmbeddingProvider:
        settings = self._settings
        kind = wanted.provider if wanted is not None else settings.provider
        if kind == MINILM.provider:
            return await open_minilm(settings, self._data_dir)
        if kind == fake.FAKE:
            return FakeProvider(
                self._fake_dimension, model=model, window=settings.window or fake.WINDOW
            )
        if kind == endpoint.PROVIDER:
            # The setting speaks of the configured model; what a session is pinned to is known.
            dimension = settings.dimension if model == settings.model else None
            if dimension is None and wanted is not None:
                dimension = wanted.dimension
            return await open_endpoint(settings, model, dimension=dimension)
        revision = wanted.revision if wanted is not None else None
        return await open_sentence_transformer(settings, model, revision=revision)


def _mismatch(wanted: Identity | None, instead: str) -> EmbeddingMismatch:
    return EmbeddingMismatch(
        f"The vectors were made with {wanted}, and this server {instead}",
        recovery="Move the session to a model of this server (POST /sessions/{id}/reembed), or "
        "have the operator configure the model that it was made with.",
    )
