"""`quire reconcile`: orphans on either side are found, and go when asked."""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa

from quire.app import Part, Quire
from quire.settings import Settings
from quire.store.tables import sessions
from quire.vectors.port import CollectionSpec, Distance
from tests.cli.command import quire, serving


async def test_orphans_are_found_and_repaired(tmp_path: Path) -> None:
    # given a good session, one that lost an empty collection, one that lost points, an orphan
    data = tmp_path / "data"
    names = {}
    with serving(data, tmp_path) as server, server.client() as client:
        for name in ("good", "emptied", "robbed"):
            made = client.post("/sessions", json={"id": name, "name": name}).json()
            names[name] = made["qdrant_collection_name"]
        server.stop()
    async with Quire.open(Settings(data_dir=data), Part.TOOL) as opened:
        for name in ("emptied", "robbed"):
            await opened.engine.drop(names[name])
        await opened.engine.create("session_nobodys", CollectionSpec(4, Distance.COSINE))
        async with opened.database.write() as connection:
            robbed = sa.update(sessions).where(sessions.c.id == "robbed")
            await connection.execute(robbed.values(points_count=7))

    # when only asked to look
    looked = quire("reconcile", data_dir=data)

    # then it tells in words and changes nothing
    assert looked.code == 1
    assert "session_nobodys belongs to no session" in looked.out
    assert "session emptied is gone; it held no points" in looked.out
    assert "session robbed is gone; it held points, which are lost" in looked.out
    assert "Nothing was changed" in looked.out

    # when asked to repair
    repaired = quire("reconcile", "--repair", "--json", data_dir=data)

    # then all of it is done when it returns
    assert repaired.code == 0, repaired.said
    assert len(json.loads(repaired.out)["repaired"]) == 3
    again = quire("reconcile", data_dir=data)
    assert again.code == 0
    assert "No orphans." in again.out
    async with Quire.open(Settings(data_dir=data), Part.TOOL) as opened:
        kept = [session.id async for session in opened.repository.walk()]
        assert sorted(kept) == ["emptied", "good"]
        assert await opened.engine.exists(names["emptied"])


async def test_it_refuses_to_empty_an_installation_unless_forced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tmp_path) as server, server.client() as client:
        for number in range(4):
            client.post("/sessions", json={"id": f"s{number}", "name": "s"}).raise_for_status()
        held = quire("reconcile", data_dir=data)
        assert held.code == 2
        assert "in use by the Quire process" in held.err
        server.stop()
    async with Quire.open(Settings(data_dir=data), Part.TOOL) as opened:
        for name in [name async for name in opened.engine.collections()]:
            await opened.engine.drop(name)

    refused = quire("reconcile", "--repair", data_dir=data)
    assert refused.code == 1
    assert "looks like another engine" in refused.err
    assert "--force" in refused.err
    assert quire("reconcile", "--repair", "--force", data_dir=data).code == 0
