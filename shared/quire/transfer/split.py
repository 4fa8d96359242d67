"""Splitting a session: some of its points into sessions of their own, copied or moved."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.content.repository import DocumentRepository
from quire.errors import VerificationFailed
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.points.visibility import require_writable, visible_chunks
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.settings import TransferSettings
from quire.transfer.activity_plan import Bringing, Kind
from quire.transfer.activity_rows import ActivityRows
from quire.transfer.building import Building, Outcome, Without
from quire.transfer.feeds import EVERYTHING, Build, Feed
from quire.transfer.finale import Built, Finale
from quire.transfer.lineage import Descent, Line
from quire.transfer.parts import Part, PartFinder, Parts
from quire.transfer.replaced import ReplacedDocuments
from quire.transfer.selection import Except
from quire.transfer.split_request import Findings, SplitActivity, SplitRequest
from quire.transfer.survey import Survey
from quire.transfer.targets import NewTarget, Targets
from quire.vectors.port import Condition, Match, VectorEngine

KIND = "split"
PAGE = 500

COPIED_FROM = 0.2
"""What stays is copied whole and what goes removed from the copy, where so large a part stays.

Copying was quicker on both engines wherever anything stayed; but what is removed takes room still.
"""


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split would do."""

    names: Sequence[str]
    findings: Findings


class Split:
    """Begins and runs splits. Nothing is seen of one, and nothing removed, before its end.

    A part without points becomes a session all the same: there is one for each part asked for.
    """

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        rows: DocumentRepository,
        engine: VectorEngine,
        finder: PartFinder,
        targets: Targets,
        building: Building,
        finale: Finale,
        replaced: ReplacedDocuments,
        survey: Survey,
        activity: ActivityRows,
        jobs: Jobs,
        limits: TransferSettings,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._rows = rows
        self._engine = engine
        self._finder = finder
        self._targets = targets
        self._building = building
        self._finale = finale
        self._replaced = replaced
        self._survey = survey
        self._activity = activity
        self._jobs = jobs
        self._limits = limits
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def begin(self, principal: Principal, session_id: str, request: SplitRequest) -> str:
        """Submit the job; it is shown at the session that is split."""
        request = request.checked(self._limits)
        awake = await self._sessions.open(principal, session_id)
        wanted = await self._finder.parts(awake, request)
        parts = Parts.of([part.asked for part in wanted])
        names = [part.target.name for part in wanted]
        if request.strict:
            _require_clean(await self._finder.look(awake, parts, counting=True), names)
        job_id = str(uuid.uuid4())
        async with self._repository.transaction() as connection:
            source = await self._sessions.lock(connection, principal, session_id, _role(request))
            policy.require_writer(principal)
            require_not_deleted(source)
            if request.remove_points or request.archive_original:
                require_writable(source)
            drafts = [
                self._targets.draft(principal, _placed(principal, part, source), source, job_id)
                for part in wanted
            ]
            await self._targets.reserve(connection, drafts)
            return await self._jobs.submit(
                connection,
                JobRequest(
                    KIND,
                    sessions=[source.id, *(draft.id for draft in drafts)],
                    parameters={
                        "source": source.id,
                        "rest": self._targets.collection(),
                        "parts": parts.as_json(),
                        "names": names,
                        "targets": [[draft.id, draft.collection] for draft in drafts],
                        "move": request.remove_points,
                        "archive": request.archive_original,
                        "strict": request.strict,
                        "activity": request.activity.value,
                    },
                    owner_id=principal.subject,
                    id=job_id,
                ),
            )

    async def report(
        self, principal: Principal, session_id: str, request: SplitRequest
    ) -> SplitReport:
        """What the split would do; nothing is done."""
        request = request.checked(self._limits)
        session = await self._sessions.open(principal, session_id)
        wanted = await self._finder.parts(session, request)
        parts = Parts.of([part.asked for part in wanted])
        findings = await self._finder.look(session, parts, counting=True)
        return SplitReport([part.target.name for part in wanted], findings)

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        plan, job_id = _Plan(context.parameters), context.job_id
        collections = list(plan.collections.values())
        await context.step("begin", self._finale.begin, job_id, plan.busy, collections)
        findings = Findings.from_json(await context.step("look", self._look, plan))
        if plan.told["strict"]:
            _require_clean(findings, plan.told["names"])
        outcomes: list[Outcome] = []
        assigned = 0
        for build in plan.builds():
            outcome = await self._building.run(context, build, total=findings.points, done=assigned)
            outcomes.append(outcome)
            assigned += outcome.points
        built = [
            outcome.built(
                build,
                metadata={Descent.SPLIT_FROM.value: plan.source},
                lineage={Descent.SPLIT_FROM.value: plan.source},
            )
            for build, outcome in zip(plan.builds(), outcomes, strict=True)
        ]
        if plan.is_move:
            built.append(await self._rest(context, plan, findings.points, assigned))
        await context.progress(assigned, assigned, "points")
        context.finishing()
        came = await context.step("conclude", self._conclude, plan, built, job_id)
        return {
            "new_session_ids": [build.session_id for build in plan.builds()],
            "assigned_points": assigned,
            "removed_points": assigned if plan.is_move else 0,
            **replace(findings, counts=[o.points for o in outcomes]).answer(plan.told["names"]),
            "parts": [
                {"session_id": build.session_id, **outcome.as_json()}
                for build, outcome in zip(plan.builds(), outcomes, strict=True)
            ],
            **({"activity": came} if plan.copies_activity else {}),
        }

    async def _look(self, plan: _Plan) -> Mapping[str, Any]:
        session = await self._building.session(plan.source)
        found = await self._finder.look(session, plan.parts, counting=plan.told["strict"])
        return found.as_json()

    async def _rest(self, context: JobContext, plan: _Plan, points: int, assigned: int) -> Built:
        """The collection of what stays, for the session itself."""
        is_copied = points - assigned >= COPIED_FROM * points
        outcome = await self._building.run(
            context,
            build := plan.rest(is_copied=is_copied),
            total=points,
            done=assigned,
            without=Without(plan.parts.asked, [to for _, to in plan.told["targets"]]),
        )
        if outcome.points + assigned != points:
            raise VerificationFailed(
                f"Of {points} points, {assigned} went to the parts and {outcome.points} stay"
            )
        dropped = await context.step("dropped", self._dropped, plan.source, build.collection)
        kept = await context.step("keep", self._replaced.keep, plan.source, context.job_id, dropped)
        return outcome.built(build, dropped_documents=dropped, kept=kept)

    async def _dropped(self, session_id: str, collection: str) -> Sequence[str]:
        """The documents that had chunks, and have none in the new collection."""
        session = await self._building.session(session_id)
        after, dropped = -1, []
        while page := await self._rows.page(session_id, after=after, limit=PAGE):
            after = page[-1].ordinal
            names = Match("document_id", [document.id for document in page])
            had = await self._named(session.collection, visible_chunks(session, names))
            had &= {document.id for document in page}
            whole = replace(session, hidden_stages=())
            have = await self._named(collection, visible_chunks(whole, names))
            dropped += sorted(had - have)
        return dropped

    async def _named(self, collection: str, condition: Condition) -> set[str]:
        found = await self._engine.facet(
            collection, "document_id", filter=condition, limit=2 * PAGE
        )
        return {str(one.value) for one in found}

    async def _conclude(
        self, plan: _Plan, built: Sequence[Built], job_id: str
    ) -> Mapping[str, Any]:
        source = await self._building.session(plan.source, awake=False)
        lines = []
        for one in built:
            if one.session_id == source.id:
                continue
            target = await self._building.session(one.session_id, awake=False)
            lines.append(
                Line(
                    child_id=target.id,
                    child_name=target.name,
                    parent_id=source.id,
                    parent_name=source.name,
                    kind=Descent.SPLIT_FROM,
                    job_id=job_id,
                    points=one.points,
                    documents=await self._survey.carried(target.id, job_id),
                )
            )
        archived = plan.busy if plan.told["archive"] else []
        came = await self._finale.conclude(
            job_id,
            built,
            plan.busy,
            lines,
            archive=plan.told["archive"],
            come_along=partial(self._copy, plan, job_id) if plan.copies_activity else None,
        )
        await self._building.announce([line.child_id for line in lines], archived)
        return came

    async def _copy(
        self, plan: _Plan, job_id: str, connection: AsyncConnection
    ) -> Mapping[str, Any]:
        """Give every part the whole activity; answers what each of them got."""
        came: Mapping[str, Any] = {}
        for target, _ in plan.told["targets"]:
            came = await self._activity.bring(Bringing(job_id, target, [plan.source]), connection)
        return {kind.value: came[kind] for kind in Kind}

    async def _take_back(self, context: JobContext) -> None:
        plan = _Plan(context.parameters)
        await context.step(
            "take back", self._finale.take_back, context.job_id, plan.collections, plan.busy
        )


class _Plan:
    """What a job's parameters say."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told
        self.source: str = told["source"]
        self.is_move: bool = told["move"]
        self.parts = Parts.from_json(told["parts"])

    @property
    def copies_activity(self) -> bool:
        return SplitActivity(self.told["activity"]) is SplitActivity.COPY

    @property
    def busy(self) -> list[str]:
        """The session, where what is written to it meanwhile would be lost."""
        return [self.source] if self.is_move or self.told["archive"] else []

    @property
    def collections(self) -> Mapping[str, str]:
        """The collection that is built for each session."""
        rest = {self.source: self.told["rest"]} if self.is_move else {}
        return {**dict(self.told["targets"]), **rest}

    def builds(self) -> list[Build]:
        return [
            Build(session_id, collection, [Feed(self.source, self.parts.selection(number))])
            for number, (session_id, collection) in enumerate(self.told["targets"])
        ]

    def rest(self, *, is_copied: bool) -> Build:
        if is_copied:
            return Build(self.source, self.told["rest"], [], base=self.source)
        left = Except(EVERYTHING, self.parts.asked)
        return Build(self.source, self.told["rest"], [Feed(self.source, left)])


def _placed(principal: Principal, part: Part, source: Session) -> NewTarget:
    """A part belongs to whom the session belongs to, where the caller may say so."""
    is_theirs = principal.is_operator or source.group in principal.groups
    return replace(
        part.target,
        owner_id=source.owner_id if principal.is_operator else None,
        group=source.group if is_theirs else None,
    )


def _role(request: SplitRequest) -> Role:
    if request.archive_original:
        return Role.ADMIN
    return Role.WRITE if request.remove_points else Role.READ


def _require_clean(findings: Findings, names: Sequence[str]) -> None:
    if (objection := findings.objection(names)) is not None:
        raise objection
