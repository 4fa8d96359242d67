"""Pages of results, cut to fit: every item of a page is there, though perhaps not all its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, cast

from pydantic import Field
from typing_extensions import TypedDict

from quire.retrieval.pages import QueryPage
from quire_mcp.budget import Budget, cut, longest
from quire_mcp.shapes import call, moment

LEAST_TEXT = 40

P = TypeVar("P", bound=Mapping[str, Any])


Item = dict[str, Any] | str | float | bool | None
"""A result: a chunk with its score and where it is from; or what a caller posted to be paged."""


class PageAnswer(TypedDict):
    """A page of what was found."""

    query_id: Annotated[str, Field(description="Names the results: get_nth_page takes it.")]
    items: list[Item]
    page_index: Annotated[int, Field(description="From 0.")]
    num_items_per_page: int
    num_total_pages: int
    num_total_items: int
    has_next: bool
    has_previous: bool
    expires_at: str
    is_cut: Annotated[bool, Field(description="Whether texts were cut to fit.")]
    next: str


def page_answer(
    page: QueryPage, budget: Budget, build: Callable[[PageAnswer], P], following: str
) -> P:
    """The page as long as it may be: texts are cut evenly first, and then items left out."""
    items = [brief(item) for item in page.items]

    def built(shown: list[Item]) -> P:
        is_cut = shown != items
        told = following
        if is_cut and any(isinstance(it, dict) and "chunk_index" in it for it in items):
            told += " Texts are cut: get_session_chunk(session_id, chunk_index) has all of one."
        return build(
            {
                "query_id": page.query_id,
                "items": shown,
                "page_index": page.page_index,
                "num_items_per_page": page.num_items_per_page,
                "num_total_pages": page.num_total_pages,
                "num_total_items": page.num_total_items,
                "has_next": page.has_next,
                "has_previous": page.has_previous,
                "expires_at": moment(page.expires_at),
                "is_cut": is_cut,
                "next": told,
            }
        )

    whole = built(items)
    if budget.holds(whole):
        return whole
    shorter = budget.fit(longest(items), lambda n: built([cut(item, n) for item in items]))
    if budget.holds(shorter):
        return shorter
    bare = [cut(_bare(item), LEAST_TEXT) for item in items]
    return budget.fit(len(bare), lambda n: built(bare[:n]))


def brief(item: Any) -> Item:
    """A result without what an agent has no use for; what a caller posted is as it was."""
    if isinstance(item, list):
        return {"value": item}
    if not isinstance(item, dict) or "links" not in item or "score" not in item:
        return cast("Item", item)
    told = {
        "session_id": item.get("session_id"),
        "chunk_index": item["seq"],
        "document_id": item["document_id"],
        "title": item.get("title"),
        "source_url": item.get("source_url"),
        "score": item["score"],
        "text": item["text"],
        "context": item.get("context"),
        "metadata": item["metadata"] or None,
        "payload": item.get("payload") or None,
        "before": [_beside(other) for other in item.get("before", ())] or None,
        "after": [_beside(other) for other in item.get("after", ())] or None,
    }
    if item["seq"] is None:
        told["id"] = item["id"]
    return {name: value for name, value in told.items() if value is not None}


def going_on(page: QueryPage) -> str:
    """What to do after a page."""
    if page.has_next:
        return f"Go on with {call('get_nth_page', page_index=page.page_index + 1)}."
    if page.num_total_items == 0:
        return "Nothing was found: ask in other words, or with fewer conditions."
    return "These are all. Cite what you use as [session_id#chunk_index]."


def _beside(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"chunk_index": item["seq"], "text": item["text"]}


def _bare(item: Any) -> Any:
    """What an item cannot do without."""
    if not isinstance(item, dict):
        return str(item)
    kept = ("session_id", "chunk_index", "document_id", "id", "score", "text")
    found = {name: item[name] for name in kept if name in item}
    return found or {"text": str(item)}
