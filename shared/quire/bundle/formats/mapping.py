"""Which column of a stranger's file is the id, the vector, the text.

Ids are never changed silently. What is no point id (an unsigned integer or a UUID) is refused,
unless the mapping says `"id": {"column": …, "hash": true}`: then the point's id is the UUIDv5 of
the column's text, the same in every import, and the payload keeps that text as `_id`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from quire.errors import FileRefused, InvalidInput

ORIGINAL_ID = "_id"
"""Where the payload keeps an id that was hashed."""

TEXT = "text"
DOCUMENT = "document_id"

_COLUMNS = ("vector", "text", "document", "sparse_indices", "sparse_values")
_KEYS = ("id", *_COLUMNS, "payload")
_EXAMPLE = '{"id": "uuid", "vector": "embedding", "text": "body", "payload": ["title"]}'

_GUESSES: Mapping[str, Sequence[str]] = {
    "id": ("id", "_id", "uuid"),
    "vector": ("vector", "embedding", "embeddings", "dense"),
    "text": ("text", "content", "body", "chunk"),
    "document": ("document_id",),
    "sparse_indices": ("sparse_indices",),
    "sparse_values": ("sparse_values",),
}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Columns by what they are; what is None is guessed from the names, see `resolved`.

    The text goes into the payload as `text`, the document as `document_id`; `payload` names the
    other columns to take, None is all that are left. In a session's JSON and in a snapshot there
    are no columns: there, `vector` picks one of several named vectors, and nothing else counts.
    """

    id: str | None = None
    hash_ids: bool = False
    vector: str | None = None
    text: str | None = None
    document: str | None = None
    sparse_indices: str | None = None
    sparse_values: str | None = None
    payload: tuple[str, ...] | None = None

    def resolved(self, columns: Sequence[str]) -> ColumnMapping:
        """This mapping for a file that has these columns: checked, the gaps filled by guessing."""
        present = set(columns)
        named = {name: getattr(self, name) for name in ("id", *_COLUMNS)}
        for role, column in named.items():
            if column is not None and column not in present:
                raise _unknown_column(role, column, columns)
        for column in self.payload or ():
            if column not in present:
                raise _unknown_column("payload", column, columns)
        used = {column for column in named.values() if column is not None} | set(self.payload or ())
        for role, guesses in _GUESSES.items():
            if named[role] is None:
                named[role] = next((g for g in guesses if g in present and g not in used), None)
        if (named["sparse_indices"] is None) != (named["sparse_values"] is None):
            raise FileRefused(
                "Only one of sparse_indices and sparse_values is there; name both columns in the "
                "mapping.",
                field="mapping",
            )
        taken = {column for column in named.values() if column is not None}
        rest = self.payload or () if self.payload is not None else _without(columns, taken)
        self._check_targets(named, rest)
        return replace(self, **named, payload=tuple(rest))

    def _check_targets(self, named: Mapping[str, str | None], rest: Sequence[str]) -> None:
        moved = {"text": TEXT, "document": DOCUMENT}
        targets = [moved[role] for role in moved if named[role] is not None]
        targets += [ORIGINAL_ID] if self.hash_ids else []
        for target in targets:
            if target in rest:
                raise FileRefused(
                    f"The column {target!a} would be overwritten: the payload's {target} is "
                    "filled from another column. List the columns to keep in the mapping's "
                    "payload.",
                    field="mapping.payload",
                )


def _without(columns: Sequence[str], taken: set[str]) -> list[str]:
    return [column for column in columns if column not in taken]


def parse_mapping(value: object) -> ColumnMapping:
    """A mapping as requests carry it: an object of column names."""
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"A mapping is an object of column names, such as {_EXAMPLE}.", field="mapping"
        )
    unknown = [str(key)[:80] for key in value if key not in _KEYS]
    if unknown:
        raise InvalidInput(
            f"A mapping knows no {', '.join(map(ascii, unknown))}; its keys are "
            f"{', '.join(_KEYS)}.",
            field=f"mapping.{unknown[0]}",
        )
    identity, hash_ids = _identity(value.get("id"))
    columns = {name: _column(value.get(name), f"mapping.{name}") for name in _COLUMNS}
    return ColumnMapping(
        id=identity, hash_ids=hash_ids, payload=_payload(value.get("payload")), **columns
    )


def _identity(value: object) -> tuple[str | None, bool]:
    if not isinstance(value, Mapping):
        return _column(value, "mapping.id"), False
    hashed = value.get("hash", False)
    if set(value) - {"column", "hash"} or "column" not in value or not isinstance(hashed, bool):
        raise InvalidInput(
            'The id is a column\'s name, or {"column": …, "hash": true}.', field="mapping.id"
        )
    return _column(value["column"], "mapping.id.column"), hashed


def _payload(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidInput(
            "The payload is a list of column names; leave it out for all that are left.",
            field="mapping.payload",
        )
    names = [_column(name, f"mapping.payload[{n}]") for n, name in enumerate(value)]
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _column(value: object, field: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise InvalidInput(f"{str(value)[:80]!a} is no column's name.", field=field)


def _unknown_column(role: str, column: str, columns: Sequence[str]) -> FileRefused:
    shown = ", ".join(ascii(name[:80]) for name in columns[:30])
    more = ", …" if len(columns) > 30 else ""
    return FileRefused(
        f"The file has no column {column[:80]!a}; it has {shown or 'none'}{more}.",
        field=f"mapping.{role}",
    )
