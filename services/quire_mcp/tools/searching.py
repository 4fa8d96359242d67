"""Finding things: by meaning and words, by fields, and paging through what was found."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quire.points.filters import parse_filter
from quire.retrieval.kql import parse_kql
from quire.retrieval.pages import QueryPage
from quire.retrieval.requests import Mode, SearchRequest
from quire_mcp.arguments import Neighbours, SessionId
from quire_mcp.callers import caller
from quire_mcp.pages import Item, PageAnswer, going_on, page_answer
from quire_mcp.shapes import known
from quire_mcp.toolbox import Toolbox

MOST_ON_A_PAGE = 100

PageSize = Annotated[
    int | None, Field(description="Results on a page; unset: 10.", ge=1, le=MOST_ON_A_PAGE)
]
Bound = Annotated[
    str | int | float | None,
    Field(
        description="A time (RFC 3339, or a date), or a number where the field holds numbers.",
        examples=["2024-02-01", "2024-02-01T08:00:00Z", 1706774400],
    ),
]


class FirstPage(PageAnswer):
    """The first page of a query, under the names that log tools know as well."""

    Page0: list[Item]
    NumPages: int
    TotalResults: int


class NthPage(PageAnswer):
    """A page of a query, under the names that log tools know as well."""

    Page: list[Item]
    PageNumber: Annotated[int, Field(description="From 1.")]
    TotalPages: int
    TotalResults: int


def offer(toolbox: Toolbox) -> None:
    """The tools of this module."""
    quire, budget = toolbox.quire, toolbox.budget

    @toolbox.reads("Search a session")
    async def search_session(
        session_id: SessionId,
        query: Annotated[
            str,
            Field(description="A question, or words.", examples=["how are leaves bound together?"]),
        ],
        mode: Annotated[Mode, Field(description="By meaning, by words, or by both.")] = Mode.HYBRID,
        limit: Annotated[int, Field(description="Results in all.", ge=1)] = 10,
        page_size: PageSize = None,
        before: Neighbours = 0,
        after: Neighbours = 0,
        filter: Annotated[
            dict[str, Any] | None,
            Field(
                description="Conditions on fields of documents' metadata.",
                examples=[{"topic": ["binding", "paper"], "year": {"gte": 2020}}],
            ),
        ] = None,
        group_by_document: Annotated[
            bool, Field(description="Only the best of each document.")
        ] = False,
    ) -> PageAnswer:
        """Chunks that answer a question, best first, with where they are from."""
        asked = known(
            {"query": query, "mode": mode.value, "limit": limit, "filter": filter, "tool": "search"}
        )
        request = SearchRequest(
            query=query,
            mode=mode,
            limit=limit,
            page_size=page_size,
            filter=None if filter is None else parse_filter(filter),
            before=before,
            after=after,
            group_by_document=group_by_document,
        )
        page = await quire.search.search(caller().principal, [session_id], request, asked)
        await quire.agents.remember(caller().agent, page.query_id)
        return page_answer(page, budget, lambda answer: answer, going_on(page))

    @toolbox.reads("Search by fields")
    async def search_by_kql(
        query: Annotated[
            str,
            Field(
                description="Fields and words: `error AND service:api AND year:[2020 TO 2024]`; "
                "* for everything.",
                examples=["error AND service:api", 'level:ERROR AND "connection refused"'],
            ),
        ],
        session_id: SessionId,
        from_: Annotated[Bound, Field(alias="from", description="Not before this time.")] = None,
        to: Annotated[Bound, Field(description="Not after this time.")] = None,
        time_field: Annotated[
            str, Field(description="The metadata field that from and to bound.", examples=["at"])
        ] = "timestamp",
        limit: Annotated[
            int | None, Field(description="Results kept; unset: as many as can be.", ge=1)
        ] = None,
        page_size: PageSize = None,
    ) -> FirstPage:
        """Chunks whose fields and words fulfil a query; get_nth_page reads the other pages."""
        bounds = known({"gte": from_, "lte": to})
        request = SearchRequest(
            kql=parse_kql(query),
            filter=parse_filter({time_field: bounds}, "from, to") if bounds else None,
            limit=limit or quire.settings.query.results,
            page_size=page_size,
        )
        asked = known({"kql": query, "from": from_, "to": to, "tool": "search_by_kql"})
        page = await quire.search.search(caller().principal, [session_id], request, asked)
        await quire.agents.remember(caller().agent, page.query_id)
        return page_answer(page, budget, _first, going_on(page))

    @toolbox.reads("Read a page of results")
    async def get_nth_page(
        page_index: Annotated[int, Field(description="The first page is 0.", examples=[1])],
        query_id: Annotated[
            str | None, Field(description="Unset: your latest query.", max_length=64)
        ] = None,
    ) -> NthPage:
        """Another page of what a query found then; results expire some time after the query."""
        who = caller()
        wanted = query_id or await quire.agents.latest_query(who.agent)
        page: QueryPage = await quire.pages.page(who.principal, wanted, page_index)
        return page_answer(page, budget, _nth, going_on(page))


def _first(answer: PageAnswer) -> FirstPage:
    return {
        **answer,
        "Page0": answer["items"],
        "NumPages": answer["num_total_pages"],
        "TotalResults": answer["num_total_items"],
    }


def _nth(answer: PageAnswer) -> NthPage:
    return {
        **answer,
        "Page": answer["items"],
        "PageNumber": answer["page_index"] + 1,
        "TotalPages": answer["num_total_pages"],
        "TotalResults": answer["num_total_items"],
    }
