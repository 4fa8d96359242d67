"""What a search asks for, checked before anything is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from quire.errors import InvalidInput, LimitExceeded
from quire.retrieval.kql import KqlQuery
from quire.settings import LimitSettings, QuerySettings
from quire.vectors.port import AllOf, Condition

NEIGHBOURS_MAX = 100

KEYWORD_WEIGHT = 1.5
"""Beside 1.0 for meaning: what `make bench` finds best over questions of all kinds."""


class Mode(StrEnum):
    DENSE = "dense"  # by meaning
    KEYWORD = "keyword"  # by words
    HYBRID = "hybrid"  # by both, fused by rank


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A search. With neither words nor a vector it lists what the filter lets through."""

    query: str | None = None
    vector: Sequence[float] | None = None
    mode: Mode = Mode.HYBRID
    limit: int = 10
    page_size: int | None = None
    filter: Condition | None = None
    kql: KqlQuery | None = None
    score_threshold: float | None = None
    before: int = 0
    after: int = 0
    group_by_document: bool = False
    group_size: int = 1
    diversity: float | None = None
    """0 to 1: how much results are to differ from each other; None: not at all considered."""
    dense_weight: float = 1.0
    keyword_weight: float = KEYWORD_WEIGHT
    exact: bool = False
    with_vectors: bool = False

    @property
    def text(self) -> str | None:
        """The words to search by, wherever they were given."""
        return self.query if self.kql is None else self.kql.text

    @property
    def condition(self) -> Condition | None:
        given = self.filter, None if self.kql is None else self.kql.filter
        conditions = [condition for condition in given if condition is not None]
        if len(conditions) < 2:
            return conditions[0] if conditions else None
        return AllOf(conditions)

    def checked(self, limits: LimitSettings, queries: QuerySettings) -> SearchRequest:
        """The same with what follows from it filled in, or an error that names the field."""
        if self.query is not None and self.kql is not None:
            raise InvalidInput("Give query or kql, not both", field="kql")
        self._check_text(limits)
        if not 1 <= self.limit <= queries.results:
            raise LimitExceeded(
                f"limit is 1 to {queries.results} (QUIRE_QUERY_RESULTS)", field="limit"
            )
        self._check_numbers()
        mode = self.mode
        if mode is Mode.HYBRID and self.kql is not None and self.kql.test is not None:
            mode = Mode.KEYWORD  # what must hold certain words is among what is found by words
        if self.vector is not None and self.text is None:
            if mode is Mode.KEYWORD:
                raise InvalidInput("mode keyword searches by words: give a query", field="mode")
            mode = Mode.DENSE
        return replace(self, mode=mode)

    def _check_text(self, limits: LimitSettings) -> None:
        if self.query is None:
            if self.vector is None and self.condition is None and self.kql is None:
                raise InvalidInput("Give a query, a vector, a kql or a filter", field="query")
            return
        if len(self.query) > limits.query_chars:
            raise LimitExceeded(
                f"query has {len(self.query)} characters, over the limit of "
                f"{limits.query_chars} (QUIRE_LIMITS_QUERY_CHARS)",
                field="query",
            )
        if not self.query.strip():
            raise InvalidInput("query is blank", field="query")
        if "\x00" in self.query or any("\ud800" <= c <= "\udfff" for c in self.query):
            raise InvalidInput("query must not hold NUL or lone surrogates", field="query")

    def _check_numbers(self) -> None:
        for name in ("before", "after"):
            if not 0 <= getattr(self, name) <= NEIGHBOURS_MAX:
                raise InvalidInput(f"{name} is 0 to {NEIGHBOURS_MAX}", field=name)
        if not 1 <= self.group_size <= NEIGHBOURS_MAX:
            raise InvalidInput(f"group_size is 1 to {NEIGHBOURS_MAX}", field="group_size")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise InvalidInput("diversity is 0 to 1", field="diversity")
        weights = self.dense_weight, self.keyword_weight
        if not all(isfinite(w) and 0 <= w <= 1_000 for w in weights) or not any(weights):
            raise InvalidInput(
                "weights are 0 to 1000, and one of them is more than 0", field="weights"
            )
        threshold = self.score_threshold
        if threshold is not None and not isfinite(threshold):
            raise InvalidInput("score_threshold must be finite", field="score_threshold")
