"""The web: a page, how it is built, and crawls."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from quire_api.authentication import Caller
from quire_api.http import TheQuire, Wait, job_shape, json_response, require_not_failed
from quire_api.problems import problem_responses
from quire_api.routers.jobs import JobShape
from quire_api.web_shapes import (
    BeginCrawl,
    CrawledShape,
    FetchPage,
    KeptShape,
    PageShape,
    StructureShape,
    crawled_shape,
    kept_shape,
    page_shape,
    structure_shape,
)

router = APIRouter(tags=["web"])

OF_FETCHING = problem_responses(400, 401, 403, 409, 413, 415, 422, 500, 502, 503, 507)
STILL: dict[int | str, dict[str, Any]] = {
    202: {"model": JobShape, "description": "a job is still at it; `Location` is where it is"}
}


@router.post("/web/content", response_model=PageShape | KeptShape, responses=OF_FETCHING)
async def fetch_content(body: FetchPage, caller: Caller, quire: TheQuire, wait: Wait) -> Response:
    """Fetch a page and read its main text; with `session`, keep it in a new session."""
    found = await quire.crawling.content(
        caller, body.url, session=body.session, chunk_size=body.chunk_size, wait=wait
    )
    if found.kept is None:
        return json_response(page_shape(found.page))
    location = {"Location": f"/sessions/{found.kept.session_id}"}
    return json_response(kept_shape(found.kept), headers=location)


@router.post("/web/structure", response_model=StructureShape | KeptShape, responses=OF_FETCHING)
async def fetch_structure(body: FetchPage, caller: Caller, quire: TheQuire, wait: Wait) -> Response:
    """Fetch a page and tell its headings, links, forms and metadata; `session` keeps them."""
    found = await quire.crawling.structure(
        caller, body.url, session=body.session, chunk_size=body.chunk_size, wait=wait
    )
    if found.kept is None:
        return json_response(structure_shape(found.structure))
    location = {"Location": f"/sessions/{found.kept.session_id}"}
    return json_response(kept_shape(found.kept), headers=location)


@router.post(
    "/crawls",
    response_model=CrawledShape,
    responses={**STILL, **OF_FETCHING, **problem_responses(404, 410)},
)
async def begin_crawl(body: BeginCrawl, caller: Caller, quire: TheQuire, wait: Wait) -> Response:
    """Crawl a site into a session: each page becomes a document. It is a job."""
    job_id, _ = await quire.crawling.begin(caller, body.request())
    crawled = await quire.crawling.crawled(job_id, wait)
    require_not_failed(crawled.job)
    if crawled.is_taken_in and crawled.job.result is not None:
        return json_response(crawled_shape(job_id, crawled.job.result))
    return json_response(job_shape(crawled.job), 202, {"Location": f"/jobs/{job_id}"})
