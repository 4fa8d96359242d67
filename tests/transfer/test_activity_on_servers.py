"""Activity where PostgreSQL keeps it: merged, undone, forked, carried away and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire.transfer.feeds import OnConflict, other_id
from quire.transfer.merge_request import MergeRequest
from quire.transfer.targets import NewTarget
from tests.content.house import FAKE
from tests.sessions.servers import quire_on_servers
from tests.transfer.activity import bytes_of, contents, held, is_held_right, kept, value_of, work
from tests.transfer.files import exported, imported
from tests.transfer.house import ADA, create, finished, merged, purges

if TYPE_CHECKING:
    from pathlib import Path

    from quire.app import Quire
    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.server, pytest.mark.postgres]


async def worked(quire: Quire, about: str) -> str:
    session = await create(quire)
    await work(quire, session.id, about)
    return session.id


async def test_activity_goes_where_its_session_goes(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> None:
    async with quire_on_servers(tmp_path, postgres_url, qdrant_server, embedding=FAKE) as quire:
        moss, ferns = await worked(quire, "moss"), await worked(quire, "ferns")
        before, holding = await kept(quire, moss), await held(quire, moss)
        # merged, what differs under one name is told apart
        result = await merged(quire, moss, ferns)
        together = result["session_id"]
        assert result["activity"]["renamed"] == {"attachments": 1, "invocations": 1, "messages": 2}
        assert await bytes_of(quire, together, "plots/chart (2).png") == b"chart of ferns"
        answer = await quire.activity.messages.get(ADA, together, other_id(ferns, "answer"))
        assert answer.invocation_id == other_id(ferns, "draw-1")
        assert len(await contents(quire, together)) == 4
        # forked, and merged with what it is forked from, there is one of everything
        job_id, fork_id = await quire.transfers.fork.begin(ADA, together, NewTarget(name="f"))
        await finished(quire, job_id)
        assert await kept(quire, fork_id) == await kept(quire, together)
        twice = (await merged(quire, together, fork_id))["session_id"]
        whole = await kept(quire, together)
        for name in ("messages", "invocations", "attachments", "session_data"):
            assert (await kept(quire, twice))[name] == whole[name]
        # carried away and back
        file = await exported(quire, together)
        assert await exported(quire, together) == file
        back = (await imported(quire, file)).session_id
        assert back is not None
        assert await contents(quire, back) == await contents(quire, together)
        # undone
        request = MergeRequest(
            source_session_ids=[ferns],
            target_session_id=moss,
            on_conflict=OnConflict.REPLACE,
            archive_sources=False,
        )
        job_id = await quire.transfers.merge.begin(ADA, request)
        await finished(quire, job_id)
        assert await value_of(quire, moss, "subject") == "ferns"
        await finished(quire, await quire.history.undo.begin(ADA, job_id))
        after = await kept(quire, moss)
        del before["conversations"], after["conversations"]
        assert after == before
        assert await held(quire, moss) == holding
        for session_id in (together, fork_id, twice, back):
            assert await is_held_right(quire, session_id)
        await purges(quire)
