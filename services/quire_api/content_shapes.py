"""The JSON of documents, chunks and searches, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from quire.content.admission import Admitted
from quire.content.chunks import Neighbourhood
from quire.content.models import Document, DocumentStatus, SizeUnit
from quire.content.sources import IngestOptions, Source
from quire.content.text import encode_text
from quire.errors import InvalidInput
from quire.retrieval.items import chunk_item, linked
from quire_api.shapes import Input, Json

ErrorsChoice = Literal["strict", "replace"]


class DocumentInput(Input):
    """One document: its `text`, any JSON value as `json`, or the `url` that it is fetched from."""

    text: str | None = None
    value: Any = Field(None, alias="json", description="a list of records, a scraped result")
    url: str | None = Field(
        None, description="where it is from; fetched where there is neither text nor json"
    )
    id: str | None = Field(None, description="chosen by you; the same id again replaces it")
    title: str | None = None
    content_type: str | None = Field(None, description="of the text; unset: text/plain")
    metadata: Json = Field(default_factory=dict)

    def source(self, at: str, errors: ErrorsChoice) -> Source:
        has_value = "value" in self.model_fields_set
        if has_value and self.text is not None:
            raise InvalidInput(f"{at} has both text and json: give one of them", field=at)
        if not has_value and self.text is None:
            return self._fetched(at)
        if self.text is not None:
            content = encode_text(self.text, field=f"{at}.text", errors=errors)
            content_type = self.content_type
        else:
            content, content_type = _dumped(self.value, f"{at}.json"), "application/json"
        return Source(
            content=content,
            content_type=content_type,
            id=self.id,
            title=self.title,
            source_url=self.url,
            metadata=self.metadata,
        )

    def _fetched(self, at: str) -> Source:
        """What lies at its url."""
        if self.url is None:
            raise InvalidInput(
                f"{at} has neither text nor json, nor a url to fetch it from: give one of them",
                field=at,
            )
        if self.content_type is not None:
            raise InvalidInput(
                f"{at}.content_type: what is fetched is what its server says it is",
                field=f"{at}.content_type",
            )
        return Source(
            content=None,
            id=self.id,
            title=self.title,
            source_url=self.url,
            metadata=self.metadata,
        )


class OptionsInput(Input):
    chunk_size: StrictInt | None = Field(None, description="unset: the session's, or 1000")
    chunk_overlap: StrictInt | None = Field(None, description="unset: the session's, or 0")
    chunk_unit: SizeUnit | None = Field(None, description="what both count")
    errors: ErrorsChoice = Field("strict", description="replace: U+FFFD for what is no text")

    @property
    def options(self) -> IngestOptions:
        return IngestOptions(
            chunk_size=self.chunk_size,
            chunk_overlap=self.chunk_overlap,
            chunk_unit=self.chunk_unit,
            errors=self.errors,
        )


class IngestDocuments(OptionsInput):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "documents": [
                    {
                        "text": "A quire is a gathering of leaves.",
                        "title": "Quire",
                        "metadata": {"topic": "binding"},
                    }
                ]
            }
        }
    )

    documents: Annotated[list[DocumentInput], Field(min_length=1)]

    def sources(self) -> list[Source]:
        return [
            document.source(f"documents[{position}]", self.errors)
            for position, document in enumerate(self.documents)
        ]


class FileInput(Input):
    """What is to be known of a file besides its content."""

    url: str | None = None
    id: str | None = None
    title: str | None = None
    metadata: Json = Field(default_factory=dict)


class ChunkingShape(BaseModel):
    chunk_size: int
    chunk_overlap: int
    chunk_unit: SizeUnit


class DocumentShape(BaseModel):
    """A document."""

    id: str
    title: str | None
    status: DocumentStatus
    media_type: str
    source_url: str | None
    metadata: Json
    revision: int
    chunks_count: int
    first_seq: int | None
    characters: int
    size_bytes: int
    content_sha256: str
    chunking: ChunkingShape
    job_id: str | None
    error: Json | None
    created_at: datetime
    updated_at: datetime
    links: dict[str, str]


class AdmittedDocumentShape(DocumentShape):
    duplicate: bool = Field(description="the session had this content already")


class IngestedShape(BaseModel):
    job_id: str | None
    documents: list[AdmittedDocumentShape]


class ChunkShape(BaseModel):
    """A chunk."""

    id: int | str
    document_id: str
    index: int
    seq: int
    text: str
    start: int
    end: int
    tokens: int
    context: str | None
    metadata: Json
    payload: Json
    links: dict[str, str | None]


class NeighbourhoodShape(ChunkShape):
    before: list[ChunkShape]
    after: list[ChunkShape]


class RemovedShape(BaseModel):
    message: str
    job_id: str


def document_shape(document: Document) -> Json:
    base = f"/sessions/{document.session_id}/documents/{quote(document.id, safe='')}"
    return {
        "id": document.id,
        "title": document.title,
        "status": document.status.value,
        "media_type": document.media_type,
        "source_url": document.source_url,
        "metadata": document.metadata,
        "revision": document.revision,
        "chunks_count": document.chunks_count,
        "first_seq": document.first_seq,
        "characters": document.characters,
        "size_bytes": document.raw.size,
        "content_sha256": document.content_sha256,
        "chunking": {
            "chunk_size": document.chunking.size,
            "chunk_overlap": document.chunking.overlap,
            "chunk_unit": document.chunking.unit.value,
        },
        "job_id": document.job_id,
        "error": document.error,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
        "links": {
            "self": base,
            "content": f"{base}/content",
            "text": f"{base}/text",
            "chunks": f"{base}/chunks",
        },
    }


def ingested_shape(admitted: Admitted) -> Json:
    return {
        "job_id": admitted.job_id,
        "documents": [
            {**document_shape(document), "duplicate": position in admitted.duplicates}
            for position, document in enumerate(admitted.documents)
        ],
    }


def neighbourhood_shape(session_id: str, found: Neighbourhood) -> Json:
    item = chunk_item(session_id, found.chunk)
    return {
        **linked(item, session_id, found.previous_seq, found.next_seq),
        "before": [chunk_item(session_id, chunk) for chunk in found.before],
        "after": [chunk_item(session_id, chunk) for chunk in found.after],
    }


def read_json(field: str, text: str | None) -> Mapping[str, Any]:
    """A JSON object that came as text, in a form or a query."""
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{field} is not JSON: {error}", field=field) from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{field} must be a JSON object", field=field)
    return value


def _dumped(value: Any, field: str) -> bytes:
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidInput(f"{field} cannot be kept: {error}", field=field) from None
