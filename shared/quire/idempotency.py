"""Requests that must not happen twice: the first answer is kept and given again."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from quire.errors import Conflict, InvalidInput
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import idempotency_keys as keys

# A request that has not answered by then died with its process; its key may be taken up again.
ABANDONED_AFTER = timedelta(minutes=2)
KEPT_FOR = timedelta(hours=24)
NAMESPACE = uuid.UUID("6f1c3b7e-52a4-5d0e-9d59-0b7d6c1f7a10")


class KeyReused(InvalidInput):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"
    recovery = "Use a new key for a new request."


class StillRunning(Conflict):
    """The first request with this Idempotency-Key is still running."""

    code = "idempotent_request_running"
    recovery = "Wait and repeat the request; it will be given the first one's answer."


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class IdempotencyKeys:
    """The keys that callers sent, each with the fingerprint of its request and its answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, caller: str, key: str, fingerprint: str) -> Answer | None:
        """The answer given before; None if the request is now the caller's to carry out."""
        mine = (keys.c.caller == caller) & (keys.c.key == key)
        async with self._database.write() as connection:
            await self._database.lock_sessions(connection, [f"key {caller} {key}"])
            row = (await connection.execute(sa.select(keys).where(mine))).one_or_none()
            if row is not None:
                if row.fingerprint != fingerprint:
                    raise KeyReused
                if row.status is not None:
                    return Answer(row.status, row.headers, row.body)
                if now() - row.created_at < ABANDONED_AFTER:
                    raise StillRunning(retry_after=1)
                await connection.execute(sa.delete(keys).where(mine))
            await connection.execute(
                sa.insert(keys).values(
                    caller=caller, key=key, fingerprint=fingerprint, created_at=now()
                )
            )
        return None

    async def settle(self, caller: str, key: str, answer: Answer) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                sa.update(keys)
                .where(keys.c.caller == caller, keys.c.key == key)
                .values(status=answer.status, headers=answer.headers, body=answer.body)
            )

    async def release(self, caller: str, key: str) -> None:
        """The request came to nothing; it may be tried again under the same key."""
        async with self._database.write() as connection:
            await connection.execute(
                sa.delete(keys).where(keys.c.caller == caller, keys.c.key == key)
            )

    async def forget_old(self) -> int:
        async with self._database.write() as connection:
            old = keys.c.created_at < now() - KEPT_FOR
            return (await connection.execute(sa.delete(keys).where(old))).rowcount


def derived_id(caller: str, key: str) -> str:
    """The id of what a request makes: the same one if it is carried out again after a crash."""
    return str(uuid.uuid5(NAMESPACE, f"{caller}\n{key}"))
