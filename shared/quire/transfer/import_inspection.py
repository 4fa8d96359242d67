"""A first look at a file that is imported: what it is, whether it is sound, what session it makes.

All that can be found out before the first point is written is found out here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from quire.bundle.formats.models import Format
from quire.bundle.reading import BundleReader
from quire.embedding.embedders import Embedders
from quire.embedding.port import EXTERNAL, Identity
from quire.errors import EmbeddingMismatch, FileRefused, InvalidInput
from quire.sessions.identity import identity_of
from quire.sessions.models import CHUNKER_VERSION, Embedding
from quire.transfer.activity_plan import Kind
from quire.transfer.import_request import ImportRequest, Inspected
from quire.transfer.import_sources import ImportFile, detected, namespace_of
from quire.transfer.session_told import ToldSession, told_session
from quire.vectors.port import Distance
from quire.vectors.validation import MAX_DIMENSION

if TYPE_CHECKING:
    from quire.bundle.formats.models import Found

UNNAMED = "Imported session"


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, and what the session is to be like."""

    inspected: Inspected
    told: ToldSession
    embedding: Embedding


class Inspection:
    """Looks into files."""

    def __init__(self, embedders: Embedders, unpacked_max: int) -> None:
        self._embedders = embedders
        self._unpacked_max = unpacked_max

    async def look(self, file: ImportFile, request: ImportRequest) -> Look:
        """Raises `FileRefused` with the reason where the file cannot be imported."""
        path, sha256 = await file.fetch()
        format = await asyncio.to_thread(detected, path, request)
        if format is Format.BUNDLE:
            return await self._bundle(path, sha256, request)
        found = await asyncio.to_thread(_inspected, path, format, sha256, request)
        return await self._rows(found, sha256, request)

    async def _bundle(self, path: Path, sha256: str, request: ImportRequest) -> Look:
        with await asyncio.to_thread(
            BundleReader.open, path, unpacked_max=self._unpacked_max
        ) as it:
            manifest = it.manifest
            told = told_session(await asyncio.to_thread(lambda: it.session))
        embedding = Embedding(**{name: manifest.embedding[name] for name in EMBEDDING_FIELDS})
        if embedding.distance not in set(Distance):
            raise FileRefused(f"There is no distance {embedding.distance[:40]!a}", field="distance")
        chosen = await self._chosen(request, embedding)
        if manifest.vectors and chosen != embedding:
            raise EmbeddingMismatch(
                f"The vectors of the bundle were made with {identity_of(embedding)}, not with "
                f"{identity_of(chosen)}",
                recovery="Import it as it is and re-embed it then: POST /sessions/{id}/reembed.",
            )
        embeds = not manifest.vectors
        if embeds:
            await self._require_embedder(chosen)
        as_it_is = manifest.vectors and not request.new_ids
        inspected = Inspected(
            format=Format.BUNDLE,
            sha256=sha256,
            points=manifest.counts["points"],
            documents=manifest.counts["documents"],
            embeds=embeds,
            origin=told.id,
            next_seq=told.next_seq,
            indexes=told.indexes,
            digest=str(manifest.digest) if as_it_is else None,
            activity={k.value: manifest.counts[k] for k in Kind if k in manifest.counts},
        )
        return Look(inspected, told, chosen)

    async def _rows(self, found: Found, sha256: str, request: ImportRequest) -> Look:
        told = told_session(found.session)
        # Who wrote the file calls it so; chunks without their documents have no numbers.
        name = told.name or request.file_name or found.collection_name or UNNAMED
        told = replace(told, name=name, next_seq=0, indexes={})
        embedding = await self._embedding(found, told, request)
        if found.has_text and not found.has_vectors:
            await self._require_embedder(embedding)
        inspected = Inspected(
            format=found.format,
            sha256=sha256,
            points=found.points,
            documents=0,
            embeds=embedding.provider != EXTERNAL,
            origin=told.id,
            next_seq=0,
            indexes={},
        )
        return Look(inspected, told, embedding)

    async def _embedding(
        self, found: Found, told: ToldSession, request: ImportRequest
    ) -> Embedding:
        """As the caller says, else as the file says, else vectors from elsewhere."""
        distance = request.distance or found.distance or Distance.COSINE.value
        if request.names_model and request.provider != EXTERNAL:
            identity = await self._embedders.resolve(request.provider, request.model)
        elif (own := _told_embedding(found)) is not None and not request.names_model:
            return own
        elif not found.has_vectors and request.provider is None and request.dimension is None:
            identity = await self._embedders.default()
        else:
            dimension = request.dimension or found.dimension
            if dimension is None:
                raise InvalidInput(
                    "The file has no vectors; say their `dimension`, or the `model` to embed with",
                    field="dimension",
                )
            identity = Identity(EXTERNAL, EXTERNAL, "", dimension)
        for said in (request.dimension, found.dimension if found.has_vectors else None):
            if said not in (None, identity.dimension):
                raise InvalidInput(
                    f"The vectors have {said} dimensions; {identity} has {identity.dimension}",
                    field="dimension",
                )
        return _embedding_of(identity, distance)

    async def _chosen(self, request: ImportRequest, embedding: Embedding) -> Embedding:
        """What a bundle is embedded with, or what the caller names instead."""
        if not request.names_model or request.provider == EXTERNAL == embedding.provider:
            return embedding
        identity = await self._embedders.resolve(request.provider, request.model)
        if identity == identity_of(embedding):
            return embedding
        return _embedding_of(identity, embedding.distance)

    async def _require_embedder(self, embedding: Embedding) -> None:
        if embedding.provider == EXTERNAL:
            raise FileRefused(
                "The file has no vectors, and they were not made by a model",
                recovery="Export it with vectors=include, or name a `model` to embed its texts.",
            )
        await self._embedders.of(identity_of(embedding))


EMBEDDING_FIELDS = ("provider", "model", "dimension", "distance", "revision", "chunker")


def _told_embedding(found: Found) -> Embedding | None:
    """What our own JSON export tells of its vectors, if it fits them."""
    told = found.session.get("embedding")
    if not isinstance(told, dict) or type(told.get("dimension")) is not int:
        return None
    dimension = told["dimension"]
    if dimension != found.dimension if found.has_vectors else not 1 <= dimension <= MAX_DIMENSION:
        return None
    texts = [told.get(name) for name in EMBEDDING_FIELDS if name != "dimension"]
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        return None
    if told["distance"] not in set(Distance):
        return None
    return Embedding(**{name: told[name] for name in EMBEDDING_FIELDS})


def _embedding_of(identity: Identity, distance: str) -> Embedding:
    if identity.provider == EXTERNAL:
        return Embedding(EXTERNAL, EXTERNAL, identity.dimension, distance)
    return Embedding(
        provider=identity.provider,
        model=identity.model,
        dimension=identity.dimension,
        distance=distance,
        revision=identity.revision,
        chunker=CHUNKER_VERSION,
    )


def _inspected(path: Path, format: Format, sha256: str, request: ImportRequest) -> Found:
    from quire.bundle.formats.reading import inspect  # noqa: PLC0415 - it is large

    return inspect(path, format, request.columns, namespace=namespace_of(sha256))
