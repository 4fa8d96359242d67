"""Writing rows that may be there already."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from quire.store.database import Database


def insert_into(database: Database, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can do something on conflict, which SQLAlchemy has only per database."""
    return sqlite.insert(table) if database.is_sqlite else postgresql.insert(table)
