"""Conversations over HTTP: append, page either way, find, export, and assemble a context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio

from quire.settings import ActivitySettings, EmbeddingSettings
from tests.api.service import Service, assert_problem, guarded, new_id, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api.service import Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    directory = tmp_path_factory.mktemp("messages")
    options: dict[str, Any] = {
        "embedding": EmbeddingSettings(provider="fake"),
        "activity": ActivitySettings(message_bytes=1_000, messages=10),
    }
    async with serving(guarded(directory, **options)) as opened:
        yield opened


async def create(caller: Caller) -> str:
    """The path of a new session."""
    session_id = new_id()
    response = await caller.post("/sessions", {"id": session_id, "name": "s"})
    assert response.status_code == 200, response.text
    return f"/sessions/{session_id}"


async def test_a_message_is_appended_once_and_has_an_address(service: Service) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    body = {"id": "turn-1", "role": "user", "content": "Füße \x00", "metadata": {"a": 1}}
    posted = await ada.post(f"{session}/messages", body)
    assert posted.status_code == 201
    assert posted.headers["location"] == f"{session}/messages/turn-1"
    message = posted.json()
    assert message == {
        **body,
        "session_id": session.rpartition("/")[2],
        "ordinal": 0,
        "tool": None,
        "invocation_id": None,
        "tokens_in": None,
        "tokens_out": None,
        "cost": None,
        "author": "ada",
        "created_at": message["created_at"],
    }
    assert (await ada.post(f"{session}/messages", body)).json() == message
    assert (await ada.get(posted.headers["location"])).json() == message
    clash = await ada.post(f"{session}/messages", {**body, "content": "something else"})
    assert_problem(clash, 409, "conflict")


async def test_several_are_appended_together_or_not_at_all(service: Service) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    turns = [{"role": "user", "content": f"{n}"} for n in range(3)]
    posted = await ada.post(f"{session}/messages", {"messages": turns})
    assert posted.status_code == 201
    assert [message["ordinal"] for message in posted.json()] == [0, 1, 2]
    bad = [*turns, {"role": "user", "content": [{"type": "video"}]}]
    refused = await ada.post(f"{session}/messages", {"messages": bad})
    problem = assert_problem(refused, 422, about="messages[3].content[0].type")
    assert "text, image, file, data" in problem["detail"]
    assert len((await ada.get(f"{session}/messages")).json()) == 3


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ({"role": "user"}, "content"),
        ({"role": "narrator", "content": "x"}, "role"),
        ({"role": "user", "content": "x", "tokens_in": -1}, "tokens_in"),
        ({"role": "user", "content": "x", "cost": -1}, "cost"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, None),
    ],
)
async def test_what_is_wrong_is_named(service: Service, body: Any, about: str | None) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    problem = assert_problem(await ada.post(f"{session}/messages", body), 422)
    assert about is None or problem["field"].endswith(about)


async def test_limits_name_their_settings(service: Service) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    large = await ada.post(f"{session}/messages", {"role": "user", "content": "x" * 1_000})
    problem = assert_problem(large, 422, "limit_exceeded", about="content")
    assert "QUIRE_ACTIVITY_MESSAGE_BYTES" in problem["detail"]
    many = [{"role": "user", "content": "x"}] * 11
    refused = await ada.post(f"{session}/messages", {"messages": many})
    assert "QUIRE_ACTIVITY_MESSAGES" in assert_problem(refused, 422, "limit_exceeded")["detail"]


async def test_pages_lead_on_either_way(service: Service) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    turns = [{"role": "user", "content": f"{n}"} for n in range(7)]
    await ada.post(f"{session}/messages", {"messages": turns})
    for newest_first, expected in [("false", range(7)), ("true", range(6, -1, -1))]:
        page = await ada.get(f"{session}/messages?limit=3&newest_first={newest_first}")
        seen = page.json()
        while "next" in page.links:
            page = await ada.get(page.links["next"]["url"])
            seen += page.json()
        assert [message["ordinal"] for message in seen] == list(expected)
    assert_problem(await ada.get(f"{session}/messages?cursor=no"), 422, about="cursor")


async def test_words_are_found_and_meaning_where_it_is_wanted(service: Service) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    for text in ("glue for paper", "the weather", "papers"):
        await ada.post(f"{session}/messages", {"role": "user", "content": text})
    found = await ada.post(f"{session}/messages/search", {"query": "paper"})
    assert [(item["ordinal"], found.json()["pending"]) for item in found.json()["items"]] == [
        (2, 0),
        (0, 0),
    ]
    semantic = {"query": "the weather", "mode": "semantic"}
    assert_problem(await ada.post(f"{session}/messages/search", semantic), 409, "conflict")
    settings = f"{session}/messages/settings"
    assert (await ada.get(settings)).json() == {"semantic": False, "messages": 3, "pending": 0}
    assert (await ada.put(settings, {"semantic": True})).json()["semantic"] is True
    found = await ada.post(f"{session}/messages/search", semantic)
    assert found.json()["items"][0]["ordinal"] == 1


async def test_the_conversation_is_exported(service: Service) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    await ada.post(f"{session}/messages", {"role": "user", "content": "```\nfences"})
    lines = await ada.get(f"{session}/messages/export")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert lines.headers["content-disposition"].endswith('-messages.jsonl"')
    assert [orjson.loads(line)["content"] for line in lines.text.splitlines()] == ["```\nfences"]
    markdown = await ada.get(f"{session}/messages/export?format=markdown")
    assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
    assert markdown.headers["x-content-type-options"] == "nosniff"
    assert "````text\n```\nfences\n````" in markdown.text


async def test_a_context_fits_its_budget(service: Service) -> None:
    ada = service.as_("ada")
    session = await create(ada)
    text = "A quire is a gathering of leaves. " * 20
    documents = {"documents": [{"id": "notes", "title": "Notes", "text": text}]}
    assert (await ada.post(f"{session}/documents", documents)).status_code == 200
    await ada.post(f"{session}/messages", {"role": "user", "content": "What is a quire?"})
    answer = await ada.post(f"{session}/context", {"tokens": 300})
    context = answer.json()
    assert answer.status_code == 200
    assert context["query"] == "What is a quire?"
    assert 0 < context["tokens"] <= context["budget"] == 300
    assert context["passages"][0]["citation"] == 1
    assert context["passages"][0]["title"] == "Notes"
    assert context["text"].startswith("Sources:\n\n[1] Notes")
    assert [message["content"] for message in context["messages"]] == ["What is a quire?"]
    assert set(context["left_out"]) == {"messages", "passages"}


async def test_strangers_see_nothing_and_readers_only_read(service: Service) -> None:
    ada, grace = service.as_("ada"), service.as_("grace")
    session = await create(ada)
    turn = {"role": "user", "content": "hello"}
    await ada.post(f"{session}/messages", turn)
    for method, path, body in [
        ("GET", "messages", None),
        ("POST", "messages", turn),
        ("POST", "messages/search", {"query": "hello"}),
        ("GET", "messages/settings", None),
        ("PUT", "messages/settings", {"semantic": True}),
        ("GET", "messages/export", None),
        ("GET", "messages/turn-1", None),
        ("POST", "context", {}),
    ]:
        refused = await grace.request(method, f"{session}/{path}", json=body)
        assert_problem(refused, 404, "session_not_found")
    reader = service.as_("ada", scope="read")
    assert (await reader.get(f"{session}/messages")).status_code == 200
    assert_problem(await reader.post(f"{session}/messages", turn), 403, "forbidden")
    assert_problem(await reader.put(f"{session}/messages/settings", {"semantic": True}), 403)
    assert_problem(await ada.get(f"{session}/messages/turn-9"), 404, "message_not_found")
