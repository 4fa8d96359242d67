"""The metadata store: SQLite or PostgreSQL through one set of tables."""

from quire.store.database import Database
from quire.store.migrate import migrate, pending_migrations

__all__ = ["Database", "migrate", "pending_migrations"]
