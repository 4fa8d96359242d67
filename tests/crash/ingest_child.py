"""A process that brings, replaces and removes documents until somebody kills it.

Run as `python -m tests.crash.ingest_child JOURNAL SEED`, with the settings in the environment.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from quire.access.principal import Principal, Scope
from quire.app import Quire
from quire.content import portion
from quire.content.sources import IngestOptions, Source
from quire.jobs.port import JobStatus
from quire.sessions.requests import NewSession
from tests.crash.doomed import work_until_killed
from tests.crash.journal import Journal

CALLER = Principal("crash", scope=Scope.WRITE)
WIDTH = 2
OPTIONS = IngestOptions(chunk_size=60)


def content(version: int) -> str:
    """A text that is all its version's own; some are one chunk, some are thousands."""
    paragraphs = (1, 30, 2500)[version % 3]
    return "\n\n".join(f"Version {version} says in leaf {n}: é 漢 🎉." for n in range(paragraphs))


@dataclass
class Worker:
    """Works on one session; a document's version is in the journal before it is brought."""

    quire: Quire
    journal: Journal
    chance: random.Random
    session_id: str
    versions: dict[str, int] = field(default_factory=dict)

    async def work(self) -> None:
        self.journal.write(self.session_id, "create", "begin")
        new = NewSession(id=self.session_id, name=self.session_id)
        await self.quire.creation.create(CALLER, new)
        self.journal.write(self.session_id, "create", "done")
        while True:
            if self.versions and self.chance.random() < 0.2:
                await self.remove()
            else:
                await self.bring()

    async def bring(self) -> None:
        """One request with a few documents: all of them are seen, or none."""
        names = self.chance.sample(["a", "b", "c", "d"], self.chance.choice([1, 2, 3]))
        versions = {name: self.chance.randrange(1, 10**6) for name in names}
        operation = "bring " + " ".join(f"{name}={v}" for name, v in versions.items())
        self.journal.write(self.session_id, operation, "begin")
        sources = [
            Source(content=content(version).encode(), content_type="text/plain", id=name)
            for name, version in versions.items()
        ]
        admitted = await self.quire.admission.admit(CALLER, self.session_id, sources, OPTIONS)
        self.journal.write(self.session_id, operation, "done")
        self.versions |= versions
        if admitted.job_id is not None:
            await self.settled(admitted.job_id)

    async def remove(self) -> None:
        name = self.chance.choice(list(self.versions))
        self.journal.write(self.session_id, f"remove {name}", "begin")
        job_id = await self.quire.documents.remove(CALLER, self.session_id, [name])
        self.journal.write(self.session_id, f"remove {name}", "done")
        del self.versions[name]
        await self.settled(job_id)

    async def settled(self, job_id: str) -> None:
        """Mostly wait; now and then let the next request queue behind it."""
        if self.chance.random() < 0.7:
            job = await self.quire.jobs.wait(job_id, 60)
            assert job.status is JobStatus.SUCCEEDED, job


if __name__ == "__main__":
    portion.PATIENCE_SECONDS = 0.05  # many steps, so that kills fall between and within them
    work_until_killed(Worker, width=WIDTH, letter="i")
