"""Appending to conversations: one order for each, however many append at once.

Whoever appends holds the conversation's row, so ordinals follow one another without gaps. Those who
append to one session from one process share a transaction: while one is being committed, the next
gathers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.activity.message_content import fingerprint
from quire.activity.message_models import Message, NewMessage
from quire.activity.message_rows import known_messages, to_row
from quire.errors import Conflict, QuireError, Unavailable
from quire.events.log import EventKind, NewEvent, append_events
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.store.columns import now
from quire.store.database import Database
from quire.store.ending import ending_of
from quire.store.tables import conversations, messages
from quire.store.upsert import insert_into

# What goes into one transaction, unless a single request brings more.
MESSAGES_AT_ONCE = 1_000
BYTES_AT_ONCE = 8 * 1024 * 1024
# Ids in one statement: databases bound the number of values.
IDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that was checked, ready to be written."""

    message: NewMessage
    content: bytes
    words: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.message, self.content)


@dataclass(slots=True, eq=False)
class _Request:
    """What one caller appends, and waits for."""

    principal: Principal
    drafts: Sequence[Draft]
    answer: asyncio.Future[list[Message]]
    size: int


@dataclass(slots=True)
class _Queue:
    """Those who append to one session, and the task that writes for them."""

    waiting: deque[_Request] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Appender:
    """Appends on behalf of callers, each of whom gets an answer or an error of their own."""

    def __init__(
        self, database: Database, sessions: Sessions, added: Callable[[str], None]
    ) -> None:
        """`added` is told of every session that has new messages to be embedded."""
        self._database = database
        self._added = added
        self._sessions = sessions
        self._queues: dict[str, _Queue] = {}
        self._is_closed = False

    async def append(
        self, principal: Principal, session_id: str, drafts: Sequence[Draft]
    ) -> list[Message]:
        """The messages as they are kept: all of them, or none where an error is raised.

        Called off before its turn, nothing is written; after that, all of it is.
        """
        if self._is_closed:
            raise Unavailable("Quire is stopping")
        answer: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        size = sum(len(draft.content) for draft in drafts)
        queue = self._queues.setdefault(session_id, _Queue())
        queue.waiting.append(_Request(principal, drafts, answer, size))
        if queue.task is None:
            queue.task = asyncio.create_task(self._work(session_id, queue), name="append messages")
        return await answer

    async def close(self) -> None:
        """Write what is waiting, and take nothing more."""
        self._is_closed = True
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        await asyncio.gather(*tasks)

    async def _work(self, session_id: str, queue: _Queue) -> None:
        try:
            while queue.waiting:
                if requests := _taken(queue.waiting):
                    await self._serve(session_id, requests)
        finally:
            del self._queues[session_id]
            for request in queue.waiting:
                _fail(request, Unavailable("Quire is stopping"))

    async def _serve(self, session_id: str, requests: Sequence[_Request]) -> None:
        """Write for these together; what nobody foresaw strikes only whom it concerns."""
        try:
            await self._write_and_answer(session_id, requests)
        except QuireError as error:
            for request in requests:
                _fail(request, error)
        except Exception as error:  # a boundary: raised where it is waited for
            if len(requests) == 1:
                _fail(requests[0], error)
                return
            for request in requests:
                await self._serve(session_id, [request])

    async def _write_and_answer(self, session_id: str, requests: Sequence[_Request]) -> None:
        async with self._database.write() as connection:
            outcomes = await self._write(connection, session_id, requests)
        for request, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, QuireError):
                _fail(request, outcome)
            elif not request.answer.done():
                request.answer.set_result(outcome)

    async def _write(
        self, connection: AsyncConnection, session_id: str, requests: Sequence[_Request]
    ) -> list[list[Message] | QuireError]:
        refusals = await self._refusals(connection, session_id, requests)
        if all(request.principal in refusals for request in requests):
            return [refusals[request.principal] for request in requests]
        conversation = await hold_conversation(self._database, connection, session_id)
        plan = _Plan(session_id, conversation.next_ordinal)
        ids = [d.message.id for r in requests for d in r.drafts if d.message.id is not None]
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = ids[start : start + IDS_AT_ONCE]
            plan.known |= await known_messages(connection, session_id, part)
        outcomes: list[list[Message] | QuireError] = []
        for request in requests:
            refusal = refusals.get(request.principal)
            outcomes.append(refusal if refusal is not None else plan.add(request))
        if plan.rows:
            await connection.execute(sa.insert(messages), plan.rows)
            await connection.execute(
                sa.update(conversations)
                .where(conversations.c.session_id == session_id)
                .values(next_ordinal=plan.next_ordinal)
            )
            await append_events(connection, plan.events)
            if conversation.is_semantic:
                ending_of(connection).afterwards(partial(self._added, session_id))
        return outcomes

    async def _refusals(
        self, connection: AsyncConnection, session_id: str, requests: Sequence[_Request]
    ) -> dict[Principal, QuireError]:
        """Those who may not write to the session, and why. It stays as it is until the end."""
        refusals: dict[Principal, QuireError] = {}
        for principal in dict.fromkeys(request.principal for request in requests):
            try:
                session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
                require_not_deleted(session)
            except QuireError as error:
                refusals[principal] = error
        return refusals


async def hold_conversation(
    database: Database, connection: AsyncConnection, session_id: str
) -> sa.Row[Any]:
    """The conversation's row, begun if need be; nobody appends until the transaction ends."""
    held = sa.select(conversations).where(conversations.c.session_id == session_id)
    held = held.with_for_update()
    row = (await connection.execute(held)).one_or_none()
    if row is None:
        empty = {"session_id": session_id, "next_ordinal": 0, "is_semantic": False}
        new = insert_into(database, conversations).values(empty).on_conflict_do_nothing()
        await connection.execute(new)
        row = (await connection.execute(held)).one()
    return row


class _Plan:
    """What one transaction is going to write."""

    def __init__(self, session_id: str, next_ordinal: int) -> None:
        self.session_id = session_id
        self.next_ordinal = next_ordinal
        self.known: dict[str, tuple[Message, str]] = {}
        self.rows: list[dict[str, Any]] = []
        self._at = now()

    @property
    def events(self) -> list[NewEvent]:
        """Who listens is told which messages there are, not what they say."""
        return [
            NewEvent(
                self.session_id,
                EventKind.MESSAGE_ADDED,
                {"message_id": row["id"], "ordinal": row["ordinal"], "role": row["role"]},
            )
            for row in self.rows
        ]

    def add(self, request: _Request) -> list[Message] | QuireError:
        """The messages as they will be; nothing of a request of which one is refused."""
        answer: list[Message] = []
        rows: list[dict[str, Any]] = []
        added: dict[str, tuple[Message, str]] = {}
        for draft in request.drafts:
            mark, message_id = draft.fingerprint, draft.message.id
            known = added.get(message_id or "") or self.known.get(message_id or "")
            if known is None:
                message = self._message(request.principal, draft, self.next_ordinal + len(rows))
                rows.append(to_row(message, draft.content, draft.words, mark))
                added[message.id] = message, mark
            elif known[1] == mark:
                message = known[0]
            else:
                return Conflict(
                    f"Session {self.session_id} has a message {message_id} already, "
                    "and it says something else",
                    recovery="Messages are never changed: append this one under another id.",
                    message_id=message_id,
                )
            answer.append(message)
        self.rows += rows
        self.known |= added
        self.next_ordinal += len(rows)
        return answer

    def _message(self, principal: Principal, draft: Draft, ordinal: int) -> Message:
        new = draft.message
        return Message(
            id=new.id or str(uuid.uuid4()),
            session_id=self.session_id,
            ordinal=ordinal,
            role=new.role,
            content=new.content,
            tool=new.tool,
            invocation_id=new.invocation_id,
            tokens_in=new.tokens_in,
            tokens_out=new.tokens_out,
            cost=new.cost,
            metadata=new.metadata,
            author=principal.subject,
            created_at=self._at,
        )


def _taken(waiting: deque[_Request]) -> list[_Request]:
    """The first that fit into one transaction, without those that were called off."""
    taken: list[_Request] = []
    count = size = 0
    while waiting:
        request = waiting[0]
        count += len(request.drafts)
        size += request.size
        if taken and (count > MESSAGES_AT_ONCE or size > BYTES_AT_ONCE):
            break
        waiting.popleft()
        if not request.answer.done():
            taken.append(request)
    return taken


def _fail(request: _Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
