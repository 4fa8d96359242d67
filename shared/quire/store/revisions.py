"""The migrations themselves, through Alembic; imported only when there is something to migrate."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from quire.errors import ConfigurationError

MIGRATIONS = Path(__file__).with_name("migrations")


def missing(current: str | None) -> list[str]:
    """The revisions between this one and the newest, newest first."""
    scripts = ScriptDirectory.from_config(_configuration())
    try:
        found = scripts.iterate_revisions("head", current or "base")
        return [script.revision for script in found]
    except (CommandError, RevisionError) as error:
        raise ConfigurationError(
            f"The database is at revision {current}, which this version of Quire does not know",
            recovery="Run the version of Quire that migrated it, or a newer one.",
        ) from error


def upgrade(connection: sa.Connection) -> None:
    """Run what is missing, in the caller's transaction."""
    configuration = _configuration()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    return configuration
