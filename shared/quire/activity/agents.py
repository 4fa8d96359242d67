"""Agents between their calls: whether they read the instructions, and what they asked last."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa

from quire.errors import Expired, SessionNotFound
from quire.settings import McpSettings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import agents
from quire.store.upsert import insert_into

# Noting every use would make a write of every read.
NOTE_EVERY_SECONDS = 60.0
# So long an agent that came back too late is told so, rather than that it was never here.
REMEMBERED = timedelta(days=1)
NOTED_AGENTS = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Agent:
    """Who talks to the server, as far as it can be told from one call to the next.

    `names` are what this call can be recognised by: what is written is written under all of them,
    what is read is read from the first that is known. Nobody is recognised by what another owner's
    agent is called.
    """

    names: tuple[str, ...]
    owner_id: str | None
    is_new: bool = False
    """Its first name was made for this call, so nothing is known under that."""

    @property
    def ids(self) -> list[str]:
        owner = "" if self.owner_id is None else f"={self.owner_id}"
        return [hashlib.sha256(f"{owner}\n{name}".encode()).hexdigest() for name in self.names]


class Agents:
    """Remembers agents, for every process on the database alike.

    An agent that is silent for `QUIRE_MCP_IDLE_SECONDS` loses its latest query, though not that it
    was instructed.
    """

    def __init__(self, database: Database, settings: McpSettings) -> None:
        self._database = database
        self._idle = timedelta(seconds=settings.idle_seconds)
        self._note_every = min(NOTE_EVERY_SECONDS, settings.idle_seconds / 20)
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._instructed: OrderedDict[str, None] = OrderedDict()

    async def instruct(self, agent: Agent) -> None:
        """It was given the instructions."""
        await self._write(agent, {"is_instructed": True})

    async def is_instructed(self, agent: Agent) -> bool:
        ids = agent.ids
        if any(agent_id in self._instructed for agent_id in ids):
            return True
        query = sa.select(agents.c.id).where(agents.c.id.in_(ids), agents.c.is_instructed)
        async with self._database.read() as connection:
            found = (await connection.execute(query)).scalars().first()
        if found is not None:
            _keep(self._instructed, found, None)
        return found is not None

    async def note_use(self, agent: Agent) -> None:
        """It is there, and its latest query stays; one that was silent too long stays so."""
        at = time.monotonic()
        ids = agent.ids[1:] if agent.is_new else agent.ids
        due = [i for i in ids if at - self._noted.get(i, float("-inf")) >= self._note_every]
        if not due:
            return
        for agent_id in due:
            _keep(self._noted, agent_id, at)
        moment = now()
        alive = agents.c.id.in_(due) & (agents.c.used_at > moment - self._idle)
        async with self._database.write() as connection:
            await connection.execute(sa.update(agents).where(alive).values(used_at=moment))

    async def remember(self, agent: Agent, query_id: str) -> None:
        """This is its latest query now."""
        await self._write(agent, {"query_id": query_id, "used_at": now()})

    async def latest_query(self, agent: Agent) -> str:
        """Its latest query; an error that says what to do where there is none."""
        query = sa.select(agents).where(agents.c.id.in_(agent.ids))
        async with self._database.read() as connection:
            rows = {row.id: row for row in await connection.execute(query)}
        row = next((rows[i] for i in agent.ids if i in rows and rows[i].query_id), None)
        if row is None:
            raise SessionNotFound(
                "Session not found. Please run a query first.",
                recovery="Call search_session or search_by_kql; get_nth_page pages through what "
                "it found.",
            )
        if row.used_at <= now() - self._idle:
            raise Expired(
                "Session expired. Please run a new query.",
                recovery="Call search_session or search_by_kql again.",
            )
        return str(row.query_id)

    async def end(self, agent: Agent) -> None:
        """It says that it is gone."""
        for agent_id in agent.ids:
            self._instructed.pop(agent_id, None)
        async with self._database.write() as connection:
            await connection.execute(sa.delete(agents).where(agents.c.id.in_(agent.ids)))

    async def forget(self, at: datetime) -> int:
        """Forget those that were silent for long; answers how many."""
        silent = agents.c.used_at < at - self._idle - REMEMBERED
        async with self._database.write() as connection:
            return (await connection.execute(sa.delete(agents).where(silent))).rowcount

    async def _write(self, agent: Agent, change: dict[str, object]) -> None:
        fresh = {"is_instructed": False, "query_id": None, "used_at": now()}
        rows = [{"id": i, "owner_id": agent.owner_id, **fresh, **change} for i in agent.ids]
        statement = insert_into(self._database, agents)
        written = statement.on_conflict_do_update(index_elements=[agents.c.id], set_=change)
        async with self._database.write() as connection:
            await connection.execute(written, rows)


def _keep(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > NOTED_AGENTS:
        kept.popitem(last=False)
