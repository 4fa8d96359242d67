"""Attachments over HTTP: every way in, safe ways out; and sessions that go when they end."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from quire.store.columns import now
from quire.store.tables import attachments
from tests.api.service import assert_problem, new_id

if TYPE_CHECKING:
    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
ETAG = f'"{hashlib.sha256(PNG).hexdigest()}"'


async def create(service: Service, **fields: Any) -> str:
    session_id = new_id()
    body = {"id": session_id, "name": "s", **fields}
    assert (await service.client.post("/sessions", json=body)).status_code == 200
    return f"/sessions/{session_id}"


async def test_every_way_in_keeps_the_same_bytes(local: Service) -> None:
    client = local.client
    path = f"{await create(local)}/attachments"
    headers = {"Content-Type": "image/png"}
    data_url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    raw = await client.put(f"{path}/raw.png", content=PNG, headers=headers)
    form = await client.post(
        path,
        data={"name": "form.png", "ephemeral": "true", "metadata": '{"page": 2}'},
        files={"file": ("c:\\shot.png", PNG, "image/png")},
    )
    named = await client.post(path, files={"file": ("named.png", PNG)})
    url = await client.post(path, json={"name": "url.png", "data_url": data_url, "ttl_seconds": 9})

    for put in (raw, form, named, url):
        assert put.status_code == 201, put.text
        assert put.json()["media_type"] == "image/png"
        assert put.headers["etag"] == ETAG
        got = await client.get(put.headers["location"])
        assert got.content == PNG
    assert form.json()["metadata"] == {"page": 2}
    assert (raw.json()["expires_at"], named.json()["expires_at"]) == (None, None)
    assert form.json()["expires_at"] > url.json()["expires_at"]
    again = await client.put(f"{path}/raw.png", content=PNG, headers=headers)
    assert (again.status_code, again.headers["etag"]) == (200, ETAG)
    fresh = {**headers, "If-None-Match": "*"}
    assert_problem(await client.put(f"{path}/raw.png", content=PNG, headers=fresh), 412)
    names = [attachment["name"] for attachment in (await client.get(path)).json()]
    assert names == ["form.png", "named.png", "raw.png", "url.png"]
    page = await client.get(f"{path}?limit=3")
    assert len((await client.get(page.links["next"]["url"])).json()) == 1


async def test_it_is_served_whole_in_part_or_not_at_all(local: Service) -> None:
    client = local.client
    path = f"{await create(local)}/attachments/shots/one.png"
    await client.put(path, content=PNG)

    got = await client.get(path)
    assert got.headers["content-type"] == "image/png"
    assert got.headers["content-length"] == str(len(PNG))
    assert got.headers["etag"] == ETAG
    head = await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "accept-ranges", "content-disposition"):
        assert head.headers[name] == got.headers[name]
    part = await client.get(path, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    assert part.headers["content-range"] == f"bytes 1-3/{len(PNG)}"
    beyond = await client.get(path, headers={"Range": "bytes=99999999-"})
    assert_problem(beyond, 416, "range_not_satisfiable")
    assert (await client.get(path, headers={"If-None-Match": ETAG})).status_code == 304

    assert (await client.delete(path)).status_code == 204
    assert_problem(await client.get(path), 404, "attachment_not_found")
    assert (await client.head(path)).status_code == 404


@pytest.mark.parametrize(
    ("content", "declared", "media_type", "shown"),
    [
        (PNG, "text/html", "image/png", "inline"),
        (b"<html><script>alert(1)</script>", "image/png", "text/html; charset=utf-8", "attachment"),
        (b"<html><script>alert(1)</script>", "text/html", "text/html", "attachment"),
        (b"<svg onload='alert(1)'/>", "image/svg+xml", "image/svg+xml", "attachment"),
        (b"<?xml version='1.0'?><a/>", "application/xml", "application/xml", "attachment"),
        (b"alert(1)", "text/javascript", "text/javascript", "attachment"),
        (b"\0\1\2", "application/x-mystery", "application/x-mystery", "attachment"),
        (b"plain", "text/plain", "text/plain", "inline"),
        (b'{"a": 1}', "", "application/json", "inline"),
    ],
)
async def test_nothing_that_was_put_can_act_in_a_browser(
    local: Service, content: bytes, declared: str, media_type: str, shown: str
) -> None:
    client = local.client
    path = f'{await create(local)}/attachments/Prüfung "1".bin'
    put = await client.put(path, content=content, headers={"Content-Type": declared})
    assert put.json()["media_type"] == media_type
    got = await client.get(path)
    assert got.headers["content-type"].replace("; charset=utf-8", "") == media_type.replace(
        "; charset=utf-8", ""
    )
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in got.headers["content-security-policy"]
    assert got.headers["content-disposition"] == (
        f"{shown}; filename=\"Pr_fung _1_.bin\"; filename*=UTF-8''Pr%C3%BCfung%20%221%22.bin"
    )


async def test_expired_and_never_there_are_different(local: Service) -> None:
    client = local.client
    path = f"{await create(local)}/attachments"
    put = await client.put(f"{path}/{(name := new_id())}?ephemeral=true", content=PNG)
    assert put.json()["expires_at"] is not None
    change = sa.update(attachments).where(attachments.c.name == name)
    async with local.quire.database.write() as connection:
        await connection.execute(change.values(expires_at=now() - timedelta(seconds=1)))
    assert_problem(await client.get(f"{path}/{name}"), 410, "attachment_expired")
    assert_problem(await client.get(f"{path}/never"), 404, "attachment_not_found")


async def test_bad_requests_are_told_what_is_wrong(local: Service) -> None:
    client = local.client
    path = f"{await create(local)}/attachments"
    for body, status, about in (
        ({"name": "a", "data_url": "http://x"}, 422, "data_url"),
        ({"name": "a/../b", "data_url": "data:,x"}, 422, "name"),
        ({"name": "a", "data_url": "data:,x", "ttl_seconds": 0}, 422, "ttl_seconds"),
        ({"name": "a"}, 422, "data_url"),
        ({"name": "a", "data_url": "data:,x", "what": 1}, 422, "what"),
    ):
        assert_problem(await client.post(path, json=body), status, about=about)
    assert_problem(await client.post(path, content=b"{"), 400)
    assert_problem(await client.post(path, content=b"x", headers={"Content-Type": "a/b"}), 415)
    assert_problem(await client.post(path, files={"file": ("", PNG)}), 422)
    wrong = await client.post(path, data={"what": "x"}, files={"file": ("a", PNG)})
    assert_problem(wrong, 422, about="what")
    assert_problem(await client.put(f"{path}/a?metadata=[]", content=b"x"), 422, about="metadata")
    problem = assert_problem(
        await client.put(f"{path}/a", content=b"x", headers={"Content-Length": str(2**40)}), 413
    )
    assert "QUIRE_ACTIVITY_ATTACHMENT_BYTES" in problem["detail"]


async def test_more_than_a_body_may_hold_is_streamed_in(local: Service) -> None:
    large = b"x" * (local.quire.settings.limits.body_bytes + 1)
    path = f"{await create(local)}/attachments"
    put = await local.client.put(f"{path}/large", content=large)
    assert (put.status_code, put.json()["size_bytes"]) == (201, len(large))
    form = await local.client.post(path, files={"file": ("form", large)})
    assert form.json()["sha256"] == put.json()["sha256"]


async def test_a_screenshot_goes_with_its_ephemeral_session(local: Service) -> None:
    client, session_id = local.client, new_id("pause")
    for _ in range(2):  # sent twice, it is made once
        made = await client.post(
            "/sessions", json={"id": session_id, "name": "PauseShop", "ephemeral": True}
        )
        assert made.json()["ephemeral"] is True
        assert made.json()["ttl_seconds"] == 1800
    path = f"/sessions/{session_id}"
    data_url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    body = {"name": "screenshot", "data_url": data_url}
    assert (await client.post(f"{path}/attachments", json=body)).status_code == 201
    shot = await client.get(f"{path}/attachments/screenshot")
    assert (shot.headers["content-type"], shot.content) == ("image/png", PNG)

    for _ in range(2):
        ended = await client.post(f"{path}/end")
        assert ended.status_code == 200
        assert ended.json() == {"success": True, "message": "Session ended", "session": None}
    assert_problem(await client.get(f"{path}/attachments/screenshot"), 404, "session_not_found")
    assert_problem(await client.get(path), 404, "session_not_found")
    assert_problem(await client.post("/sessions/never/end"), 404, "session_not_found")
