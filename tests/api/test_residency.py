"""Residency over HTTP: what is shown, what can be asked for, and who does not wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quire.residency import packing
from quire.sessions.models import Pack, Session
from tests.api.service import Service, assert_problem, new_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def filled(service: Service, who: str = "ada") -> str:
    session_id = new_id()
    caller = service.as_(who)
    body = {"id": session_id, "name": "s", "embedding": {"dimension": 4, "provider": "external"}}
    assert (await caller.post("/sessions", body)).status_code == 200
    points = [{"id": n, "vector": [1.0, 2.0, 3.0, n], "payload": {"n": n}} for n in range(5)]
    answer = await caller.put(f"/sessions/{session_id}/points", {"points": points})
    assert answer.status_code == 200, answer.text
    return session_id


async def shown(service: Service, session_id: str) -> dict[str, Any]:
    session: dict[str, Any] = (await service.as_("ada").get(f"/sessions/{session_id}")).json()
    return session


async def test_sleep_and_wake_by_hand(strict: Service) -> None:
    ada = strict.as_("ada")
    session_id = await filled(strict)
    before = await shown(strict, session_id)
    assert (before["residency"], before["woke_at"], before["pinned"]) == ("hot", None, False)
    etag = (await ada.get(f"/sessions/{session_id}")).headers["etag"]
    answer = await ada.post(f"/sessions/{session_id}/sleep?pack=true")
    assert answer.status_code == 200
    assert answer.json()["session"]["residency"] == "cold"
    assert (await shown(strict, session_id))["residency"] == "cold"
    stats = (await ada.get(f"/sessions/{session_id}/stats")).json()
    assert stats["collection_stats"]["points_count"] == 5
    answer = await ada.post(f"/sessions/{session_id}/wake")
    assert answer.json()["session"]["residency"] == "hot"
    assert (await shown(strict, session_id))["woke_at"] is not None
    # to be put away and brought back is no change of it
    again = await ada.get(f"/sessions/{session_id}")
    assert again.headers["etag"] == etag


async def test_who_may(strict: Service) -> None:
    session_id = await filled(strict)
    await strict.as_("ada").post(
        f"/sessions/{session_id}/share", {"user_ids": ["grace"], "permissions": ["read"]}
    )
    grace = strict.as_("grace")
    assert_problem(await grace.post(f"/sessions/{session_id}/sleep"), 403)
    assert (await grace.post(f"/sessions/{session_id}/wake")).status_code == 200
    assert_problem(await grace.patch(f"/sessions/{session_id}", {"pinned": True}), 403)
    assert_problem(await strict.as_("alan").post(f"/sessions/{session_id}/wake"), 404)


async def test_a_pinned_session_does_not_sleep(strict: Service) -> None:
    ada = strict.as_("ada")
    session_id = await filled(strict)
    pinned = await ada.patch(f"/sessions/{session_id}", {"pinned": True})
    assert pinned.json()["pinned"] is True
    problem = assert_problem(await ada.post(f"/sessions/{session_id}/sleep"), 409, "conflict")
    assert "pinned" in problem["detail"]


async def test_who_does_not_wait_gets_202_while_it_wakes(
    strict: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = strict.as_("ada")
    session_id = await filled(strict)
    await ada.post(f"/sessions/{session_id}/sleep?pack=true")
    go_on = asyncio.Event()
    lay = packing.Packing._lay

    async def waiting(self: packing.Packing, session: Session, pack: Pack, collection: str) -> None:
        await go_on.wait()
        await lay(self, session, pack, collection)

    monkeypatch.setattr(packing.Packing, "_lay", waiting)
    path = f"/sessions/{session_id}/points/count"
    prefer = {"Prefer": "respond-async"}
    told = await ada.post(path, {}, headers=prefer)
    assert told.status_code == 202, told.text
    assert told.headers["content-type"] == "application/json"
    assert int(told.headers["retry-after"]) >= 1
    assert told.headers["preference-applied"] == "respond-async"
    body = told.json()
    assert (body["session_id"], body["residency"]) == (session_id, "cold")
    assert "again" in body["message"]
    # with a key the answer is kept, so it is waited for
    keyed = asyncio.create_task(ada.post(path, {}, headers={**prefer, "Idempotency-Key": new_id()}))
    patient = asyncio.create_task(ada.post(path, {}))
    await asyncio.sleep(0.1)
    assert not keyed.done()
    assert not patient.done()
    go_on.set()
    for answer in (await keyed, await patient, await ada.post(path, {}, headers=prefer)):
        assert answer.status_code == 200
        assert answer.json()["count"] == 5


async def test_what_is_cold_and_hot_is_measured(strict: Service) -> None:
    session_id = await filled(strict)
    await strict.as_("ada").post(f"/sessions/{session_id}/sleep")
    metrics = (await strict.as_("root", scope="admin").get("/metrics")).text
    assert 'quire_sessions{residency="cold",status="active"}' in metrics
    assert 'quire_session_sleeps_total{how="closed"}' in metrics
    assert "quire_session_wake_duration_seconds_bucket" in metrics
