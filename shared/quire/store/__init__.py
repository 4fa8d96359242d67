"""The metadata store: SQLite or PostgreSQL through one set of tables."""

from quire.store.database import Database, open_database
from quire.store.migrate import migrate, pending_migrations

__all__ = ["Database", "migrate", "open_database", "pending_migrations"]
