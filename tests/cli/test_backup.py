"""`quire backup` and `quire restore`: everything into a folder, and back on an empty machine."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import quire, serving

FAKE = {"QUIRE_EMBEDDING_PROVIDER": "fake"}


def test_everything_comes_back_with_its_ids_and_owners(tmp_path: Path) -> None:
    # given sessions with content, an owner, a group, a collaborator; one of them archived
    data, other, folder = tmp_path / "data", tmp_path / "other", tmp_path / "backup"
    with serving(data, tmp_path, **FAKE) as server, server.client() as client:
        made = {"id": "one", "name": "One", "owner_id": "ada", "group": "garden", "tags": ["t"]}
        client.post("/sessions", json=made).raise_for_status()
        client.post("/sessions", json={"id": "two", "name": "Two"}).raise_for_status()
        points = [{"id": n, "text": f"tab {n}"} for n in range(5)]
        client.put("/sessions/one/points", json={"points": points}).raise_for_status()
        document = {"documents": [{"id": "d", "text": "A quire is a gathering of leaves."}]}
        client.post("/sessions/one/documents", json=document).raise_for_status()
        shared = {"user_ids": ["grace"], "permissions": ["write"]}
        client.post("/sessions/one/share", json=shared).raise_for_status()
        client.post("/sessions/two/archive").raise_for_status()
        before = client.get("/sessions/one").json()
        server.stop()

    # when
    backed_up = quire("backup", "--to", str(folder), data_dir=data, **FAKE)
    restored = quire("restore", str(folder), data_dir=other, **FAKE)

    # then
    assert backed_up.code == 0, backed_up.said
    assert "Backed up 2 sessions" in backed_up.out
    assert restored.code == 0, restored.said
    assert "Restored 2 sessions" in restored.out
    missing = quire("restore", str(folder), "--session", "three", data_dir=other, **FAKE)
    assert missing.code == 1
    assert "three" in missing.err
    with serving(other, tmp_path, **FAKE) as server, server.client() as client:
        after = client.get("/sessions/one").json()
        for name in ("name", "owner_id", "group", "shared_with", "tags", "metadata", "embedding"):
            assert after[name] == before[name], name
        assert (after["points_count"], after["chunks_count"]) == (6, 1)
        content = client.get("/sessions/one/documents/d/content").text
        assert content == "A quire is a gathering of leaves."
        assert client.get("/sessions/two").json()["status"] == "archived"
        server.stop()


def test_what_is_no_backup_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text(json.dumps({"id": "../up"}) + "\n")
    refused = quire("restore", str(tmp_path), data_dir=tmp_path / "data", **FAKE)
    assert refused.code == 2
    assert "Line 1" in refused.err
    nothing = quire("restore", data_dir=tmp_path / "data", **FAKE)
    assert nothing.code == 2
