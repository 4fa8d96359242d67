"""`quire mcp`: an agent starts it, and talks to it over stdin and stdout."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from quire.errors import InvalidInput
from quire_cli.agents import endpoint_of
from tests.cli.command import QUIRE, SECRET, Serving, environment, quire, serving
from tests.mcp.agents import FAKE, HANDSHAKE, NAMES, READERS, STATELESS, over_stdio, prose, token


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """A server on this machine, for whoever sits at it; its data directory is `data`."""
    directory = tmp_path_factory.mktemp("open")
    with serving(directory / "data", directory, **FAKE) as server:
        server.data = directory / "data"
        yield server


async def test_it_serves_the_one_who_started_it(tmp_path: Path) -> None:
    async with over_stdio(tmp_path / "data") as agent:
        assert await agent.tools() >= NAMES
        await agent.done("create_session", name="Mine", id="mine")
        await agent.done("ingest", session_id="mine", documents=[{"text": prose(5)}])
        assert (await agent.refused("get_nth_page", page_index=0))["message"] == (
            "Session not found. Please run a query first."
        )
        await agent.done("search_session", session_id="mine", query="leaves")
        assert (await agent.done("get_nth_page", page_index=0))["PageNumber"] == 1
        urls = (await agent.done("get_session_urls", session_id="mine"))["urls"]
        assert urls[0] == "http://127.0.0.1:8087/sessions/mine/chunks/0"


def test_stdout_is_the_protocols_alone_and_the_token_says_who_it_is(tmp_path: Path) -> None:
    known = {"QUIRE_AUTH_SECRET": SECRET, "QUIRE_TOKEN": token("ada", "read")}
    process = subprocess.Popen(
        [QUIRE, "mcp"],
        env=environment(tmp_path / "data", {**FAKE, **known, "QUIRE_LOG_LEVEL": "debug"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    client = {"name": "raw", "version": "1"}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    for message in (
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    ):
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    process.stdin.flush()
    first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    rest, errors = process.communicate(timeout=60)
    assert first["result"]["protocolVersion"] == "2025-06-18"
    assert {tool["name"] for tool in second["result"]["tools"]} == READERS
    assert (rest, process.returncode) == ("", 0)
    assert "database migrated" in errors, "what it has to say goes to stderr"
    assert "Traceback" not in errors


async def test_where_a_server_has_the_data_it_relays(open_server: Serving) -> None:
    held = open_server.data, open_server.port
    async with (
        over_stdio(held[0], mode=HANDSHAKE, QUIRE_PORT=held[1]) as agent,
        over_stdio(held[0], "--url", open_server.url, mode=STATELESS) as other,
    ):
        await agent.done("create_session", name="Relayed", id="relayed")
        heard: list[str | None] = []

        async def hear(done: float, total: float | None, message: str | None) -> None:
            heard.append(message)

        for one, said in ((agent, prose(30)), (other, prose(30, "thread"))):
            given = {"session_id": "relayed", "documents": [{"text": said}]}
            await one.client.call_tool("ingest", given, progress_callback=hear)
            assert heard
            heard.clear()
            assert (await one.refused("get_nth_page", page_index=0))["code"] == "session_not_found"
            # Each is itself to the server, though both come the same way.
            found = await one.done("search_session", session_id="relayed", query=said[:40])
            page = await one.done("get_nth_page", page_index=0)
            assert page["query_id"] == found["query_id"]
            assert "Paragraph 0" in await one.read("quire://sessions/relayed/chunks/0")
    with open_server.client() as client:
        assert client.get("/sessions/relayed").json()["name"] == "Relayed"


def test_what_it_cannot_do_it_says(tmp_path: Path, open_server: Serving) -> None:
    nobody = quire("mcp", data_dir=tmp_path / "data", QUIRE_AUTH_SECRET=SECRET)
    assert nobody.code == 1
    assert "QUIRE_TOKEN is not set" in nobody.err
    elsewhere = quire("mcp", data_dir=open_server.data, QUIRE_PORT="1")
    assert elsewhere.code == 2
    assert f"Process {open_server.process.pid} holds" in elsewhere.err
    assert "--url" in elsewhere.err
    assert nobody.out + elsewhere.out == ""


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8087", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="no http or https address"):
        endpoint_of(url)


def test_a_server_is_named_with_its_endpoint_or_without() -> None:
    for url in ("http://a:1", "http://a:1/", "http://a:1/mcp"):
        assert endpoint_of(url) == "http://a:1/mcp"
