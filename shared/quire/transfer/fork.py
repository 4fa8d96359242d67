"""Forking a session: all of it again, under another id. Blobs are shared, points are copied."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.transfer.activity_plan import Bringing
from quire.transfer.activity_rows import ActivityRows
from quire.transfer.building import Building, Outcome
from quire.transfer.feeds import Build
from quire.transfer.finale import Finale
from quire.transfer.lineage import Descent, Line
from quire.transfer.survey import Survey
from quire.transfer.targets import NewTarget, Targets

KIND = "fork"


class Fork:
    """Begins and runs forks. The session itself goes on being written to."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        targets: Targets,
        building: Building,
        finale: Finale,
        survey: Survey,
        activity: ActivityRows,
        jobs: Jobs,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._targets = targets
        self._building = building
        self._finale = finale
        self._survey = survey
        self._activity = activity
        self._jobs = jobs
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def begin(
        self, principal: Principal, session_id: str, target: NewTarget
    ) -> tuple[str, str]:
        """Submit the job; answers its id, and the new session's."""
        job_id = str(uuid.uuid4())
        async with self._repository.transaction() as connection:
            source = await self._sessions.lock(connection, principal, session_id, Role.READ)
            policy.require_writer(principal)
            require_not_deleted(source)
            draft = self._targets.draft(principal, target, source, job_id)
            await self._targets.reserve(connection, [draft])
            build = Build(draft.id, draft.collection, [], base=source.id)
            request = JobRequest(
                KIND,
                sessions=[draft.id, source.id],
                parameters={"build": build.as_json(), "points": source.points_count},
                owner_id=principal.subject,
                id=job_id,
            )
            await self._jobs.submit(connection, request)
        return job_id, draft.id

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        build, job_id = Build.from_json(context.parameters["build"]), context.job_id
        await context.step("begin", self._finale.begin, job_id, [], [build.collection])
        outcome = await self._building.run(context, build, total=context.parameters["points"])
        await context.progress(outcome.points, outcome.points, "points")
        context.finishing()
        came = await context.step("conclude", self._conclude, build, outcome, job_id)
        return {"session_id": build.session_id, **outcome.as_json(), "activity": came}

    async def _conclude(self, build: Build, outcome: Outcome, job_id: str) -> Mapping[str, Any]:
        source = await self._building.session(str(build.base), awake=False)
        target = await self._building.session(build.session_id, awake=False)
        built = outcome.built(
            build,
            metadata={Descent.FORKED_FROM.value: source.id},
            lineage={Descent.FORKED_FROM.value: source.id},
        )
        line = Line(
            child_id=target.id,
            child_name=target.name,
            parent_id=source.id,
            parent_name=source.name,
            kind=Descent.FORKED_FROM,
            job_id=job_id,
            points=outcome.points,
            documents=(await self._survey.documents(source.id)).count,
        )
        came = await self._finale.conclude(
            job_id,
            [built],
            [],
            [line],
            archive=False,
            come_along=partial(self._bring, Bringing(job_id, target.id, [source.id])),
        )
        await self._building.announce([target.id])
        return came

    async def _bring(self, bringing: Bringing, connection: AsyncConnection) -> Mapping[str, Any]:
        await self._activity.bring_clustering(bringing, connection)
        return await self._activity.bring(bringing, connection)

    async def _take_back(self, context: JobContext) -> None:
        build = Build.from_json(context.parameters["build"])
        builds = {build.session_id: build.collection}
        await context.step("take back", self._finale.take_back, context.job_id, builds, [])
