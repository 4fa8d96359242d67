"""The crawl job: from page to page, in portions, each handed over before the next begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from typing import Any

from quire.access.principal import Principal, Scope
from quire.content.admission import Admission
from quire.content.models import DocumentStatus, SizeUnit
from quire.content.sources import IngestOptions, Source
from quire.content.web_pages import WebPages, source_of
from quire.crawling.bounds import Bounds
from quire.crawling.canonical import canonical, page_id
from quire.crawling.frontier import Frontier, Step
from quire.crawling.kept_frontiers import KeptFrontiers
from quire.crawling.politeness import Politeness
from quire.crawling.requests import Reach
from quire.crawling.visiting import Visited, Visiting
from quire.errors import FetchFailed, LimitExceeded, QuireError, Unavailable, UnsupportedMedia
from quire.jobs.failures import describe
from quire.jobs.port import JobContext, JobKind, Jobs
from quire.web.address import Address, parse
from quire.web.web import Web

KIND = "crawl"
PORTION_SECONDS = 8.0
PORTION_PAGES = 20
PORTION_BYTES = 16 * 1024 * 1024
"""Pages are in memory until they are handed over."""
CANCEL_SECONDS = 0.5
VISITS_PER_PAGE = 5
VISITS_AT_LEAST = 50
"""So often a site is asked for each page that there may be: most of what it has is no use."""


class Crawl:
    """Runs crawls. A crash costs a portion, whose pages are then fetched again."""

    def __init__(
        self,
        web: Web,
        pages: WebPages,
        admission: Admission,
        frontiers: KeptFrontiers,
        jobs: Jobs,
    ) -> None:
        self._web = web
        self._pages = pages
        self._admission = admission
        self._frontiers = frontiers
        self._jobs = jobs
        self._politeness = Politeness()
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        kept: str | None = None
        number, ended = 0, None
        while ended is None:
            kept, ended = await context.step(
                f"portion {number}", self._portion, context, number, kept
            )
            number += 1
        result: Mapping[str, Any] = await context.step("result", self._result, context, kept, ended)
        context.finishing()
        await context.step("release", self._frontiers.release, context.sessions[0], context.job_id)
        return result

    async def _portion(
        self, context: JobContext, number: int, kept: str | None
    ) -> tuple[str, str | None]:
        """Go on for some seconds; answers where the frontier is, and why there is no more."""
        parameters = context.parameters
        frontier = (
            Frontier(max_pages=parameters["max_pages"])
            if kept is None
            else await self._frontiers.load(kept)
        )
        portion = _Portion(self._web, self._pages, self._politeness, frontier, parameters)
        ended = await self._until_enough(context, portion)
        principal, session_id = _principal(parameters), context.sessions[0]
        if portion.sources:
            options = IngestOptions(
                chunk_size=parameters["chunk_size"],
                chunk_unit=parameters["chunk_unit"] and SizeUnit(parameters["chunk_unit"]),
            )
            admitted = await self._admission.admit(principal, session_id, portion.sources, options)
            frontier.counts.unchanged += len(admitted.duplicates)
            for document in admitted.documents:
                # Also those of a run before this one that a crash cut off.
                job_id = document.job_id if document.status is DocumentStatus.PENDING else None
                if job_id is not None and job_id not in frontier.ingest_jobs:
                    frontier.ingest_jobs.append(job_id)
        where = await self._frontiers.keep(principal, session_id, context.job_id, number, frontier)
        return where, ended

    async def _until_enough(self, context: JobContext, portion: _Portion) -> str | None:
        counts, parameters = portion.frontier.counts, context.parameters
        looked_at = time.monotonic()
        deadline = looked_at + PORTION_SECONDS
        while not portion.is_full and time.monotonic() < deadline:
            if counts.pages >= parameters["max_pages"]:
                return "max_pages"
            if counts.bytes >= parameters["max_bytes"]:
                return "max_bytes"
            if counts.visited >= max(VISITS_AT_LEAST, parameters["max_pages"] * VISITS_PER_PAGE):
                return "max_visits"
            if not portion.has_more:
                return "done"
            # A cancelled job ends at the end of this step.
            if time.monotonic() - looked_at > CANCEL_SECONDS:
                looked_at = time.monotonic()
                if await self._is_cancelled(context.job_id):
                    return None
            if not await self._unless_cancelled(context.job_id, portion.go_on()):
                return None
            await context.progress(
                counts.pages,
                parameters["max_pages"],
                "pages",
                bytes=counts.bytes,
                failed=counts.failed,
                waiting=len(portion.frontier.waiting),
            )
        return None

    async def _unless_cancelled(self, job_id: str, work: Coroutine[Any, Any, None]) -> bool:
        """Do it; False where the job was cancelled meanwhile, however slow the other side is."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=CANCEL_SECONDS))[0]:
                if await self._is_cancelled(job_id):
                    return False
            await task
            return True
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _is_cancelled(self, job_id: str) -> bool:
        return (await self._jobs.get(job_id)).cancel_requested

    async def _result(self, context: JobContext, kept: str, ended: str) -> Mapping[str, Any]:
        frontier = await self._frontiers.load(kept)
        return {
            "session_id": context.sessions[0],
            "url": frontier.root,
            "ended": ended,
            **asdict(frontier.counts),
            "waiting": len(frontier.waiting),
            "failures": frontier.failures,
            "ingest_jobs": frontier.ingest_jobs,
        }

    async def _take_back(self, context: JobContext) -> None:
        """What was handed over stays, as documents do; only the frontier goes."""
        await context.step("release", self._frontiers.release, context.sessions[0], context.job_id)


class _Portion:
    """Some seconds of a crawl, and the pages that were found in them."""

    def __init__(
        self,
        web: Web,
        pages: WebPages,
        politeness: Politeness,
        frontier: Frontier,
        parameters: Mapping[str, Any],
    ) -> None:
        self.frontier = frontier
        self._web = web
        self.sources: list[Source] = []
        self._bytes = 0
        self._parameters = parameters
        self._visiting = Visiting(web, pages, politeness, frontier)
        self._bounds = None if frontier.root is None else self._bounds_of(parse(frontier.root))

    @property
    def is_full(self) -> bool:
        return len(self.sources) >= PORTION_PAGES or self._bytes >= PORTION_BYTES

    @property
    def has_more(self) -> bool:
        return self._bounds is None or bool(self.frontier.sitemaps or self.frontier.waiting)

    async def go_on(self) -> None:
        """The next address: the first page, then the sitemaps, then what they and pages list."""
        if self._bounds is None:
            await self._first()
        elif self.frontier.sitemaps:
            bounds = self._bounds
            await self._visiting.read_sitemap(bounds, lambda found: self._add(bounds, found, 0))
        else:
            await self._next(self._bounds, self.frontier.waiting.popleft())

    async def _first(self) -> None:
        """Where this cannot be had there is no crawl: what is wrong with it ends the job."""
        address = canonical(parse(self._parameters["url"]))
        await self._web.check(str(address))
        await self._require_allowed(address)
        visited = await self._visiting.visit(address, None)
        found = canonical(parse(visited.fetched.final_url))
        await self._require_allowed(found)
        self.frontier.root = str(found)
        self._bounds = self._bounds_of(found)
        self.frontier.note_seen([str(address)])
        self._take(self._bounds, visited, Step(str(address), 0))
        if self._parameters["use_sitemap"]:
            await self._visiting.begin_sitemaps(found)

    async def _require_allowed(self, address: Address) -> None:
        if not await self._visiting.allows(address):
            raise FetchFailed(
                f"{address.origin}/robots.txt does not let robots fetch {address}",
                cause="robots",
                recovery="Fetch the page alone, which is not crawling, or begin elsewhere.",
            )

    async def _next(self, bounds: Bounds, step: Step) -> None:
        address, counts = parse(step.url), self.frontier.counts
        if not await self._visiting.allows(address):
            counts.refused_by_robots += 1
            return
        try:
            visited = await self._visiting.visit(address, bounds)
            self._take(bounds, visited, step)
        except Unavailable:
            raise  # that is our side
        except UnsupportedMedia:
            counts.unreadable += 1
        except FetchFailed as error:
            if error.details.get("cause") == "elsewhere":
                counts.elsewhere += 1
            else:
                self._fail(step, error)
        except LimitExceeded as error:
            counts.bytes += self._web.settings.page_bytes  # which it took to find that out
            self._fail(step, error)
        except QuireError as error:
            self._fail(step, error)

    def _take(self, bounds: Bounds, visited: Visited, step: Step) -> None:
        """Keep what is to be kept of a page, and note where it leads."""
        frontier, fetched = self.frontier, visited.fetched
        found = str(canonical(parse(fetched.final_url)))
        known_as = {found, visited.url} - {step.url}
        is_known = any(map(frontier.has_seen, known_as))
        frontier.note_seen(known_as)
        frontier.counts.bytes += len(fetched.body)
        if not {"nofollow"} & visited.robots and step.depth < self._parameters["depth"]:
            self._follow(bounds, visited, step.depth + 1)
        if "noindex" in visited.robots:
            frontier.counts.noindex += 1
        elif is_known or frontier.note_content(visited.page.text.encode() or fetched.body):
            frontier.counts.duplicates += 1
        elif not fetched.body:
            self._fail(step, FetchFailed(f"{step.url} is empty", cause="empty"))
        else:
            template = Source(
                content=None, id=page_id(visited.url), source_url=visited.url, at=step.url
            )
            further = {"depth": step.depth}
            self.sources.append(source_of(fetched, visited.page, template, further))
            self._bytes += len(fetched.body) + len(visited.page.text)
            frontier.counts.pages += 1

    def _follow(self, bounds: Bounds, visited: Visited, depth: int) -> None:
        for link in visited.page.links:
            if "nofollow" not in link.rel:
                self._add(bounds, parse(link.url), depth)

    def _add(self, bounds: Bounds, found: Address, depth: int) -> None:
        address = canonical(found)
        if bounds.wants(address):
            self.frontier.add(str(address), depth)

    def _fail(self, step: Step, error: QuireError) -> None:
        told = {"url": step.url, "depth": step.depth, "error": describe(error)}
        self.frontier.note_failure(told)

    def _bounds_of(self, root: Address) -> Bounds:
        parameters = self._parameters
        return Bounds(
            root, Reach(parameters["reach"]), parameters["include"], parameters["exclude"]
        )


def _principal(parameters: Mapping[str, Any]) -> Principal:
    """Whoever asked for the crawl; what they may do is what they may do now."""
    who = parameters["principal"]
    return Principal(who["subject"], frozenset(who["groups"]), Scope(who["scope"]))
