"""Merging sessions: into a new one, or into one that is there."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.errors import EmbeddingMismatch, PointConflict
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.points.visibility import require_writable
from quire.sessions.models import Embedding, Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.sessions.waking import Waker
from quire.settings import TransferSettings
from quire.transfer.activity_plan import Bringing
from quire.transfer.activity_rows import ActivityRows
from quire.transfer.building import Building, Outcome
from quire.transfer.feeds import Build, Dedupe, Feed, OnConflict
from quire.transfer.finale import Finale
from quire.transfer.lineage import Descent, Line
from quire.transfer.merge_request import MergeReport, MergeRequest, SourceReport
from quire.transfer.replaced import ReplacedDocuments
from quire.transfer.survey import Survey, incompatibility
from quire.transfer.targets import NewTarget, Targets

KIND = "merge"


class Merge:
    """Begins and runs merges. Nothing is seen of one, and no source touched, before its end."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        targets: Targets,
        building: Building,
        finale: Finale,
        replaced: ReplacedDocuments,
        survey: Survey,
        activity: ActivityRows,
        waker: Waker,
        jobs: Jobs,
        limits: TransferSettings,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._targets = targets
        self._building = building
        self._finale = finale
        self._replaced = replaced
        self._survey = survey
        self._activity = activity
        self._waker = waker
        self._jobs = jobs
        self._limits = limits
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def begin(self, principal: Principal, request: MergeRequest) -> str:
        """Submit the job; it is shown at the session that the others flow into."""
        request = request.checked(self._limits)
        job_id = str(uuid.uuid4())
        async with self._repository.transaction() as connection:
            needed = Role.ADMIN if request.archive_sources else Role.READ
            sources: dict[str, Session] = {}
            for session_id in sorted(request.source_session_ids):
                session = await self._sessions.lock(connection, principal, session_id, needed)
                require_not_deleted(session)
                if request.archive_sources:
                    require_writable(session)
                sources[session_id] = session
            ordered = [sources[session_id] for session_id in request.source_session_ids]
            if request.target_session_id is None:
                policy.require_writer(principal)
                target = self._draft(principal, request, ordered[0], job_id)
                await self._targets.reserve(connection, [target])
            else:
                target = await self._sessions.lock(
                    connection, principal, request.target_session_id, Role.WRITE
                )
                require_writable(target)
            if not request.reembed:
                _require_same_embedding(target, ordered)
            collection = target.collection
            if request.target_session_id is not None:
                collection = self._targets.collection()
            return await self._jobs.submit(
                connection,
                JobRequest(
                    KIND,
                    sessions=[target.id, *request.source_session_ids],
                    parameters={
                        "target": target.id,
                        "collection": collection,
                        "joined": request.target_session_id is not None,
                        "sources": list(request.source_session_ids),
                        "archive": request.archive_sources,
                        "on_conflict": request.on_conflict.value,
                        "dedupe": request.dedupe.value,
                        "reembed": request.reembed,
                    },
                    owner_id=principal.subject,
                    id=job_id,
                ),
            )

    async def report(self, principal: Principal, request: MergeRequest) -> MergeReport:
        """What the merge would do; nothing is done."""
        request = request.checked(self._limits)
        sources = [
            await self._sessions.get(principal, session_id)
            for session_id in request.source_session_ids
        ]
        compared = sources
        if request.target_session_id is not None:
            compared = [await self._sessions.get(principal, request.target_session_id), *sources]
        awake = [await self._waker.awake(session) for session in compared]
        found = (await self._survey.take(awake))[-len(sources) :]
        reports = []
        for session, census in zip(awake[-len(sources) :], found, strict=True):
            difference = incompatibility(compared[0].embedding, session.embedding)
            reports.append(
                SourceReport(
                    session.id,
                    session.name,
                    census.points,
                    census.documents,
                    census.bytes,
                    census.conflicts,
                    census.document_conflicts,
                    difference,
                    0 if difference is None else await self._survey.textless(session),
                    await self._activity.count(session.id),
                )
            )
        return _judged(reports, request)

    def _draft(
        self, principal: Principal, request: MergeRequest, like: Session, job_id: str
    ) -> Session:
        target = NewTarget(
            name=request.target_name or "",
            description=request.target_description,
            owner_id=request.owner_id,
            group=request.group,
            tags=request.tags,
            metadata=request.metadata,
        )
        return self._targets.draft(principal, target, like, job_id)

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        told, job_id = context.parameters, context.job_id
        await context.step(
            "begin", self._finale.begin, job_id, _busy(context), [told["collection"]]
        )
        # Only now does nobody else change them: what was before in the queue is done.
        build = Build.from_json(await context.step("plan", self._plan, told))
        surveyed = await context.step("survey", self._look, build)
        if surveyed["conflicts"] and build.on_conflict is OnConflict.FAIL:
            raise PointConflict(
                f"{surveyed['conflicts']} points or documents have the same id in several sessions",
                conflicts=surveyed["conflicts"],
            )
        build = replace(build, conflicts=bool(surveyed["conflicts"] or surveyed["shared"]))
        outcome = await self._building.run(context, build, total=surveyed["points"])
        kept = None
        if told["joined"]:
            kept = await context.step(
                "keep", self._replaced.keep, build.session_id, job_id, outcome.lost_documents
            )
        await context.progress(surveyed["points"], surveyed["points"], "points")
        context.finishing()
        came = await context.step("conclude", self._conclude, context, build, outcome, kept)
        return {
            "session_id": build.session_id,
            "conflicts": surveyed["conflicts"],
            **outcome.as_json(),
            "activity": came,
        }

    async def _plan(self, told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Seqs and documents go on in the order of the sources; who wins is another matter."""
        joined, on_conflict = told["joined"], OnConflict(told["on_conflict"])
        target = await self._building.session(told["target"], awake=False)
        sources = [await self._building.session(name, awake=False) for name in told["sources"]]
        if not told["reembed"]:
            _require_same_embedding(target, sources)
        seq = target.next_seq if joined else 0
        ordinal = await self._survey.next_ordinal(target.id) if joined else 0
        feeds: list[Feed] = []
        for source in sources:
            is_other = incompatibility(target.embedding, source.embedding) is not None
            feeds.append(Feed(source.id, seq_offset=seq, ordinal_offset=ordinal, reembed=is_other))
            seq += source.next_seq
            ordinal += await self._survey.next_ordinal(source.id)
        last_wins = on_conflict is OnConflict.REPLACE
        copied = not last_wins and Dedupe(told["dedupe"]) is Dedupe.NONE
        base: str | None = None
        if joined and copied:
            base = target.id
        elif joined:
            feeds.insert(0, Feed(target.id))
        elif copied and not feeds[0].reembed:
            base = feeds.pop(0).session_id
        if last_wins:
            feeds.reverse()
        dedupe = Dedupe(told["dedupe"])
        return Build(target.id, told["collection"], feeds, base, on_conflict, dedupe).as_json()

    async def _conclude(
        self, context: JobContext, build: Build, outcome: Outcome, kept: str | None
    ) -> Mapping[str, Any]:
        sources: list[str] = context.parameters["sources"]
        built = outcome.built(
            build,
            metadata={"merged_from": sources, "merged_point_count": outcome.points},
            lineage={Descent.MERGED_FROM.value: sources},
            kept=kept,
        )
        target = await self._building.session(build.session_id, awake=False)
        lines = []
        for session_id in sources:
            source = await self._building.session(session_id, awake=False)
            lines.append(
                Line(
                    child_id=target.id,
                    child_name=target.name,
                    parent_id=source.id,
                    parent_name=source.name,
                    kind=Descent.MERGED_FROM,
                    job_id=context.job_id,
                    points=source.points_count,
                    documents=(await self._survey.documents(source.id)).count,
                )
            )
        archive = context.parameters["archive"]
        bringing = Bringing(
            context.job_id,
            target.id,
            sources,
            joined=context.parameters["joined"],
            last_wins=build.on_conflict is OnConflict.REPLACE,
        )
        came = await self._finale.conclude(
            context.job_id,
            [built],
            sources,
            lines,
            archive=archive,
            come_along=partial(self._activity.bring, bringing),
        )
        await self._building.announce([target.id], sources if archive else ())
        return came

    async def _look(self, build: Build) -> Mapping[str, int]:
        names = [build.base, *(feed.session_id for feed in build.feeds)]
        sessions = [await self._building.session(name) for name in names if name is not None]
        found = await self._survey.take(sessions)
        return {
            "points": sum(census.points for census in found),
            "conflicts": sum(c.conflicts + c.document_conflicts for c in found),
            "shared": sum(census.shared_documents for census in found),
        }

    async def _take_back(self, context: JobContext) -> None:
        builds = {context.parameters["target"]: context.parameters["collection"]}
        await context.step(
            "take back", self._finale.take_back, context.job_id, builds, _busy(context)
        )


def _busy(context: JobContext) -> list[str]:
    """The sessions that nobody else may write to: what they get afterwards would be lost."""
    told = context.parameters
    joined = [told["target"]] if told["joined"] else []
    return [*joined, *(told["sources"] if told["archive"] else [])]


def _require_same_embedding(target: Session, sources: Sequence[Session]) -> None:
    mine = target.embedding
    for source in sources:
        theirs = source.embedding
        if (difference := incompatibility(mine, theirs)) is None:
            continue
        raise EmbeddingMismatch(
            f"Session {source.id} is embedded with {_named(theirs)}, what it is merged into with "
            f"{_named(mine)}: {difference}",
            recovery="Set reembed to true: texts are then embedded anew with the latter.",
            source_session_id=source.id,
            source_embedding=_named(theirs),
            target_embedding=_named(mine),
        )


def _named(embedding: Embedding) -> str:
    return f"{embedding.provider}/{embedding.model} ({embedding.dimension}, {embedding.distance})"


def _judged(reports: Sequence[SourceReport], request: MergeRequest) -> MergeReport:
    report = MergeReport(reports, would_succeed=True)
    for source in reports:
        if source.incompatibility is not None and not request.reembed:
            reason = f"{source.session_id}: {source.incompatibility}; reembed would do it"
            return replace(report, would_succeed=False, reason=reason)
        if source.textless:
            reason = f"{source.session_id}: {source.textless} points have no text to embed anew"
            return replace(report, would_succeed=False, reason=reason)
    if report.conflicts and request.on_conflict is OnConflict.FAIL:
        reason = f"{report.conflicts} points or documents have the same id in several sessions"
        return replace(report, would_succeed=False, reason=reason)
    return report
