"""Where a session comes from and what came of it: a graph, as far as the caller may see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from quire.access import policy
from quire.access.principal import Principal
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.rows import SELECT_SESSIONS
from quire.sessions.sessions import Sessions
from quire.store.columns import now
from quire.store.tables import sessions
from quire.transfer.lineage import Descent, Line, LineageRecords

MOST_NODES = 500
MOST_LINES = 2_000
IDS_AT_ONCE = 200


class Sight(StrEnum):
    """What there is to be seen of a session that is not shown itself."""

    HIDDEN = "hidden"  # the caller may not see it
    GONE = "gone"  # there is no such session any more
    OUTSIDE = "outside"  # the file that it was imported from


@dataclass(frozen=True, slots=True)
class Node:
    """A session; of one that the caller may not see nothing but that it is there, or was."""

    key: str
    """The session's id where it is shown; else a name within this graph, which no session has."""
    session: Session | None
    sight: Sight | None = None
    name: str | None = None

    @property
    def status(self) -> str:
        return self.session.status.value if self.session is not None else str(self.sight)


@dataclass(frozen=True, slots=True)
class Edge:
    """One session's part in another: `line` is None where one of the two is not shown."""

    parent: str
    child: str
    kind: Descent
    at: datetime | None
    is_undone: bool
    line: Line | None


@dataclass(frozen=True, slots=True)
class Graph:
    session_id: str
    nodes: Sequence[Node]
    edges: Sequence[Edge]
    is_cut: bool
    """There is more than was gone into."""


class LineageGraph:
    """Walks outward from a session, to parents and children alike, until it is deep enough.

    Nobody gets to know through it what they may not see: it goes no further at a session that is
    not theirs to see, and tells neither its id nor its name, nor how much flowed.
    """

    def __init__(
        self, sessions: Sessions, repository: SessionRepository, lines: LineageRecords
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._lines = lines

    async def around(self, principal: Principal, session_id: str, *, depth: int) -> Graph:
        """The graph around a session that the caller may read."""
        start = await self._sessions.peek(principal, session_id)
        nodes = {start.id: Node(start.id, start)}
        lines: dict[tuple[str, str, str], Line] = {}
        border = [start.id]
        is_cut = False
        for _ in range(depth):
            found, is_more = await self._lines_around(border)
            fresh = {_key(line): line for line in found if _key(line) not in lines}
            ends = {end for line in fresh.values() for end in (line.child_id, line.parent_id)}
            room = MOST_NODES - len(nodes)
            unknown = sorted(ends - set(nodes))
            is_cut |= is_more or len(unknown) > room
            looked_at = await self._look(principal, unknown[:room])
            names = {line.parent_id: line for line in fresh.values() if _is_import(line)}
            for identity in unknown[:room]:
                nodes[identity] = _node(identity, looked_at, names, len(nodes))
            lines |= {
                key: line
                for key, line in fresh.items()
                if line.child_id in nodes and line.parent_id in nodes
            }
            border = [identity for identity in unknown[:room] if nodes[identity].session]
            if not border:
                break
        else:
            is_cut |= await self._goes_on(border, lines)
        edges = [_edge(line, nodes) for line in lines.values()]
        return Graph(start.id, list(nodes.values()), edges, is_cut)

    async def _lines_around(self, session_ids: Sequence[str]) -> tuple[list[Line], bool]:
        found: list[Line] = []
        for start in range(0, len(session_ids), IDS_AT_ONCE):
            batch = session_ids[start : start + IDS_AT_ONCE]
            found += await self._lines.around(batch, limit=MOST_LINES + 1 - len(found))
            if len(found) > MOST_LINES:
                return found[:MOST_LINES], True
        return found, False

    async def _goes_on(
        self, border: Sequence[str], lines: dict[tuple[str, str, str], Line]
    ) -> bool:
        further, is_more = await self._lines_around(border)
        return is_more or any(_key(line) not in lines for line in further)

    async def _look(self, principal: Principal, ids: Sequence[str]) -> dict[str, Session | None]:
        """Those of these sessions that there are; None for one that the caller may not see."""
        found: dict[str, Session | None] = {}
        at = now()
        for start in range(0, len(ids), IDS_AT_ONCE):
            batch = ids[start : start + IDS_AT_ONCE]
            for session in await self._repository.select(
                SELECT_SESSIONS.where(sessions.c.id.in_(batch))
            ):
                if session.state.is_visible and not session.has_expired(at):
                    seen = policy.role_of(principal, session) is not None
                    found[session.id] = session if seen else None
        return found


def _node(
    identity: str, found: dict[str, Session | None], imports: dict[str, Line], number: int
) -> Node:
    session = found.get(identity)
    if session is not None:
        return Node(identity, session)
    key = f":{number}"
    if identity in imports:
        # Its name was in the file, and belongs to the session that was made of it. Whether there
        # is a session of that id here too, nobody is told.
        return Node(key, None, Sight.OUTSIDE, imports[identity].parent_name)
    return Node(key, None, Sight.HIDDEN if identity in found else Sight.GONE)


def _edge(line: Line, nodes: dict[str, Node]) -> Edge:
    parent, child = nodes[line.parent_id], nodes[line.child_id]
    shown: Iterable[Node] = (parent, child)
    is_shown = all(node.session is not None or node.sight is Sight.OUTSIDE for node in shown)
    return Edge(
        parent.key,
        child.key,
        line.kind,
        line.created_at,
        line.undone_at is not None,
        line if is_shown else None,
    )


def _is_import(line: Line) -> bool:
    return line.kind is Descent.IMPORTED_FROM


def _key(line: Line) -> tuple[str, str, str]:
    return line.child_id, line.parent_id, line.job_id
