"""Comparing how a collection was laid with how it is wanted."""

from __future__ import annotations

from dataclasses import replace

from quire.errors import Conflict
from quire.vectors.port import CollectionSpec, IndexKind


def require_same(name: str, present: CollectionSpec, wanted: CollectionSpec) -> None:
    """Refuse to take a collection for one that was laid differently."""
    if (present.dimension, present.distance) != (wanted.dimension, wanted.distance):
        raise Conflict(
            f"Collection {name} exists with {present.dimension} dimensions and "
            f"{present.distance.value} distance, not {wanted.dimension} and "
            f"{wanted.distance.value}.",
            collection=name,
        )


def needs_index(spec: CollectionSpec, key: str, kind: IndexKind) -> bool:
    """Whether the index is still to be made; `Conflict` when the field has one of another kind."""
    present = spec.indexes.get(key)
    if present is not None and present is not kind:
        raise Conflict(f"{key} is indexed as {present.value} already.", field=key)
    return present is None


def with_index(spec: CollectionSpec, key: str, kind: IndexKind) -> CollectionSpec:
    """The specification with one index more."""
    return replace(spec, indexes={**spec.indexes, key: kind})
