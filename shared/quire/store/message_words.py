"""The index by which messages are found by their words: FTS5 on SQLite, GIN on PostgreSQL.

The session is one of the words, so a word that is common elsewhere costs nothing here. Not a
tsvector: that holds a megabyte at most, and a message may have more words than fit.
"""

from __future__ import annotations

import sqlalchemy as sa

SESSION_MARK = "@"
"""What stands before the session's id among the words; words themselves are hexadecimal."""

GIN_INDEX = "ix_messages_words"
INDEXED = "array_append(string_to_array(words, ' '), '@' || session_id)"

_FTS5_TABLE = "message_words"
_STATEMENTS = {
    "sqlite": (
        """CREATE VIRTUAL TABLE message_words USING fts5(
            words, content='', columnsize=0, detail=none, tokenize="ascii tokenchars '@._-'")""",
        """CREATE TRIGGER message_words_insert AFTER INSERT ON messages BEGIN
            INSERT INTO message_words(rowid, words)
            VALUES (new.seq, new.words || ' @' || new.session_id);
        END""",
        """CREATE TRIGGER message_words_delete AFTER DELETE ON messages BEGIN
            INSERT INTO message_words(message_words, rowid, words)
            VALUES ('delete', old.seq, old.words || ' @' || old.session_id);
        END""",
        """CREATE TRIGGER message_words_update AFTER UPDATE OF words, session_id ON messages BEGIN
            INSERT INTO message_words(message_words, rowid, words)
            VALUES ('delete', old.seq, old.words || ' @' || old.session_id);
            INSERT INTO message_words(rowid, words)
            VALUES (new.seq, new.words || ' @' || new.session_id);
        END""",
    ),
    "postgresql": (f"CREATE INDEX {GIN_INDEX} ON messages USING gin ({INDEXED})",),
}


def index_words(messages: sa.Table) -> None:
    """Make the index with the table, and take it away with it."""
    sa.event.listen(messages, "after_create", _create)
    sa.event.listen(messages, "before_drop", _drop)


def _create(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    for statement in _STATEMENTS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def _drop(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    if connection.dialect.name == "sqlite":  # elsewhere, and its triggers, it goes with the table
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_FTS5_TABLE}")


def is_words_index(table_name: str) -> bool:
    """Whether SQLite keeps the index in a table of this name; it makes several of its own."""
    return table_name == _FTS5_TABLE or table_name.startswith(f"{_FTS5_TABLE}_")
