"""The JSON of queries and their pages, in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from quire.retrieval.pages import MAX_PAGE_SIZE, QueryPage
from quire.retrieval.query import Query
from quire_api.shapes import Input, Json

PAGE: dict[str, Any] = {
    "query_id": "5b0e7c1a-6a0f-4a37-9d55-6f2f1d8f4c11",
    "items": [{"url": "https://example.org", "title": "Example"}],
    "page_index": 0,
    "num_items_per_page": 10,
    "num_total_pages": 1,
    "num_total_items": 1,
    "has_next": False,
    "has_previous": False,
    "expires_at": "2026-11-20T10:00:00Z",
}


class PostQuery(Input):
    """A list to be paged through."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"items": PAGE["items"], "page_size": 10}}
    )

    items: list[Any] = Field(description="any JSON values")
    page_size: int | None = Field(
        None, description=f"1 to {MAX_PAGE_SIZE}; unset: the configured size, 10"
    )
    request: Json = Field({}, description="what the list answers, for those who look at it later")


class QueryPageShape(BaseModel):
    """A page of what was found then, whatever has changed in the session since."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": PAGE})

    query_id: str
    items: list[Any]
    page_index: int
    num_items_per_page: int
    num_total_pages: int
    num_total_items: int
    has_next: bool
    has_previous: bool
    expires_at: datetime = Field(description="fixed from the start; reading does not prolong it")


class QueryShape(BaseModel):
    """A query without its items."""

    model_config = ConfigDict(extra="forbid")

    query_id: str
    session_id: str | None
    owner_id: str | None
    request: Json
    num_items_per_page: int
    num_total_pages: int
    num_total_items: int
    created_at: datetime
    expires_at: datetime


def page_shape(page: QueryPage) -> Json:
    """`QueryPageShape` as the serialiser takes it; the items are JSON already."""
    return {
        "query_id": page.query_id,
        "items": orjson.Fragment(page.items_json),
        "page_index": page.page_index,
        "num_items_per_page": page.num_items_per_page,
        "num_total_pages": page.num_total_pages,
        "num_total_items": page.num_total_items,
        "has_next": page.has_next,
        "has_previous": page.has_previous,
        "expires_at": page.expires_at,
    }


def query_shape(query: Query) -> Json:
    return {
        "query_id": query.id,
        "session_id": query.session_id,
        "owner_id": query.owner_id,
        "request": orjson.Fragment(query.request),
        "num_items_per_page": query.page_size,
        "num_total_pages": query.pages_count,
        "num_total_items": query.total,
        "created_at": query.created_at,
        "expires_at": query.expires_at,
    }
