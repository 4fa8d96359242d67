"""The retention policy: kept in the store, so that every process obeys the same one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import InvalidInput
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import policies

NAME = "retention"
MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What happens to sessions that nobody uses; None switches a rule off."""

    max_age_days: int | None = None
    max_sessions_per_user: int | None = None
    auto_archive_inactive_days: int | None = 30
    auto_delete_archived_days: int | None = 90

    def __post_init__(self) -> None:
        for field, value in asdict(self).items():
            if value is not None and not 1 <= value <= MOST_DAYS:
                raise InvalidInput(
                    f"{field} must be between 1 and {MOST_DAYS}, or null for never", field=field
                )


class RetentionPolicies:
    """Reads and writes the policy in force."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self) -> RetentionPolicy:
        async with self._database.read() as connection:
            return await self.read(connection)

    async def read(self, connection: AsyncConnection) -> RetentionPolicy:
        query = sa.select(policies.c.value).where(policies.c.name == NAME)
        value: dict[str, Any] | None = (await connection.execute(query)).scalar_one_or_none()
        return RetentionPolicy() if value is None else RetentionPolicy(**value)

    async def put(self, policy: RetentionPolicy) -> None:
        async with self._database.write() as connection:
            await connection.execute(sa.delete(policies).where(policies.c.name == NAME))
            await connection.execute(
                sa.insert(policies).values(name=NAME, value=asdict(policy), updated_at=now())
            )
