"""Cutting a document's text into chunks: by its structure, within the model's window."""

from quire.content.chunking.chunkers import CHUNKER_VERSION, open_chunker
from quire.content.chunking.sizes import check_chunk_settings

__all__ = ["CHUNKER_VERSION", "check_chunk_settings", "open_chunker"]
