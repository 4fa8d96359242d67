"""Run by Alembic, on the connection that `quire.store.migrate` hands in."""

from alembic import context

from quire.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
