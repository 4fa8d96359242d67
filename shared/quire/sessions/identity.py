"""What a session's vectors are made with, in the words of the embedding port."""

from __future__ import annotations

from quire.embedding.port import Identity
from quire.sessions.models import Embedding


def identity_of(embedding: Embedding) -> Identity:
    return Identity(embedding.provider, embedding.model, embedding.revision, embedding.dimension)
