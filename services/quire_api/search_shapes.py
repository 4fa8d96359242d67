"""The JSON of searches."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, StrictBool

from quire.points.filters import parse_filter
from quire.retrieval.kql import parse_kql
from quire.retrieval.requests import KEYWORD_WEIGHT, Mode, SearchRequest
from quire_api.shapes import Input, Json


class Searching(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "query": "how are leaves bound together?",
                "limit": 20,
                "filter": {"topic": ["binding", "paper"], "year": {"gte": 2020}},
            }
        }
    )

    query: str | None = Field(None, description="a question, or words")
    vector: list[float] | None = Field(None, description="in place of a query's own")
    kql: str | None = Field(
        None, description="`error AND service:api AND year:[2020 TO 2024]`; in place of query"
    )
    mode: Mode = Field(Mode.HYBRID, description="by meaning, by words, or by both")
    limit: int = Field(10, description="how many results in all, 1 to 1000")
    page_size: int | None = Field(None, description="how many of them on a page; unset: 10")
    filter: Json | None = Field(None, description="in the filter language")
    score_threshold: float | None = Field(None, description="of cosine, BM25 or fused rank")
    before: int = Field(0, description="so many chunks of the document before each result")
    after: int = Field(0, description="so many after it; results whose neighbours touch are one")
    group_by_document: StrictBool = Field(False, description="at most group_size per document")
    group_size: int = 1
    diversity: float | None = Field(
        None, description="0 to 1: how much results differ from each other (MMR)"
    )
    dense_weight: float = Field(1.0, description="of meaning, in mode hybrid")
    keyword_weight: float = Field(KEYWORD_WEIGHT, description="of words, in mode hybrid")
    exact: StrictBool = Field(False, description="compare with every vector, without the index")
    with_vectors: StrictBool = False

    def request(self) -> SearchRequest:
        return SearchRequest(
            query=self.query,
            vector=self.vector,
            kql=None if self.kql is None else parse_kql(self.kql),
            mode=self.mode,
            limit=self.limit,
            page_size=self.page_size,
            filter=None if self.filter is None else parse_filter(self.filter),
            score_threshold=self.score_threshold,
            before=self.before,
            after=self.after,
            group_by_document=self.group_by_document,
            group_size=self.group_size,
            diversity=self.diversity,
            dense_weight=self.dense_weight,
            keyword_weight=self.keyword_weight,
            exact=self.exact,
            with_vectors=self.with_vectors,
        )

    def asked(self) -> dict[str, Any]:
        """What is kept with the results; a vector would outweigh them."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"vector"})


class SearchingSessions(Searching):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_ids": ["spring-archive", "summer-archive"],
                "query": "how are leaves bound together?",
            }
        }
    )

    session_ids: list[str] = Field(description="sessions that you may read")
