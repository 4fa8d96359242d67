"""Sessions in which something was said and done, and all that is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from quire.activity.attachment_models import holder_of
from quire.activity.invocation_models import NewInvocation
from quire.activity.message_models import MessageRole, NewMessage
from quire.store.tables import (
    attachments,
    blob_references,
    conversations,
    invocations,
    messages,
    replaced_data,
    session_data,
)
from tests.sessions.house import ADA
from tests.transfer.files import in_blocks

if TYPE_CHECKING:
    from quire.app import Quire

TABLES = (attachments, conversations, invocations, messages, replaced_data, session_data)
UNTOLD = {"seq", "session_id", "job_id", "vector", "vector_identity"}


def said(text: str, message_id: str | None = None, **more: Any) -> NewMessage:
    return NewMessage(role=MessageRole.USER, content=text, id=message_id, **more)


async def say(quire: Quire, session_id: str, *new: NewMessage | str) -> None:
    told = [said(one) if isinstance(one, str) else one for one in new]
    await quire.activity.messages.append(ADA, session_id, told)


async def attach(quire: Quire, session_id: str, name: str, content: bytes, **more: Any) -> None:
    await quire.activity.attachments.put(ADA, session_id, name, in_blocks(content), **more)


async def use(quire: Quire, session_id: str, tool: str, **more: Any) -> None:
    await quire.activity.invocations.record(ADA, session_id, NewInvocation(tool=tool, **more))


async def remember(quire: Quire, session_id: str, **values: Any) -> None:
    for key, value in values.items():
        await quire.activity.data.put(ADA, session_id, key, orjson.dumps(value))


async def work(quire: Quire, session_id: str, about: str = "moss") -> None:
    """Some of everything; the ids are the same in every session that it is done in."""
    await attach(quire, session_id, "plots/chart.png", f"chart of {about}".encode())
    await attach(quire, session_id, "log.txt", b"the same everywhere")
    await use(quire, session_id, "draw", id="draw-1", attachments=["plots/chart.png", "log.txt"])
    chart = {"type": "image", "attachment": "plots/chart.png"}
    await say(
        quire,
        session_id,
        said(f"Draw {about}.", "ask"),
        NewMessage(
            role=MessageRole.TOOL, content=[chart], id="answer", tool="draw", invocation_id="draw-1"
        ),
    )
    await remember(quire, session_id, subject=about, steps=2)


async def kept(quire: Quire, session_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything that tables have of a session's activity, but for what no reader sees."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with quire.database.read() as connection:
        for table in TABLES:
            query = sa.select(table).where(table.c.session_id == session_id)
            rows = (await connection.execute(query.order_by(*_order(table)))).mappings()
            found[table.name] = [{k: row[k] for k in row if k not in UNTOLD} for row in rows]
    return found


def _order(table: sa.Table) -> list[sa.Column[Any]]:
    return [table.c[name] for name in ("ordinal", "seq", "name", "key") if name in table.c]


async def contents(quire: Quire, session_id: str) -> list[str]:
    """What was said, in its order."""
    page = await quire.activity.messages.page(ADA, session_id, limit=1000)
    return [str(message.content) for message in page.messages]


async def bytes_of(quire: Quire, session_id: str, name: str) -> bytes:
    found = await quire.activity.attachments.get(ADA, session_id, name)
    blocks = quire.activity.attachments.read(found, 0, found.size)
    return b"".join([block async for block in blocks])


async def value_of(quire: Quire, session_id: str, key: str) -> Any:
    _, value = await quire.activity.data.get(ADA, session_id, key)
    return orjson.loads(value)


async def held(quire: Quire, session_id: str) -> set[tuple[str, str]]:
    """The attachments that refer to a blob, and to which."""
    query = sa.select(blob_references.c.holder, blob_references.c.sha256).where(
        blob_references.c.session_id == session_id,
        blob_references.c.holder.startswith(holder_of("")),
    )
    async with quire.database.read() as connection:
        return {(row[0], row[1]) for row in await connection.execute(query)}


async def is_held_right(quire: Quire, session_id: str) -> bool:
    """Whether each attachment holds its blob, and nothing else does."""
    rows = (await kept(quire, session_id))["attachments"]
    there = {(holder_of(row["name"]), row["sha256"]) for row in rows if row["sha256"]}
    return there == await held(quire, session_id)
