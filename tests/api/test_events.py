"""Server-sent events, as a client on the other side of a socket sees them."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from quire.events.log import EventKind, NewEvent, append_events
from quire.settings import EventSettings
from quire_api.event_stream import EventStream
from tests.api.service import assert_problem, new_id
from tests.cli.command import serving, wait_for
from tests.sessions.house import ADA, create, quire_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from quire.app import Quire
    from tests.cli.command import Serving

LIVELY = {"QUIRE_EVENTS_HEARTBEAT_SECONDS": "0.2", "QUIRE_EVENTS_SUBSCRIBERS": "2"}


@dataclass(frozen=True)
class Told:
    """One event as it came: a comment has only its text."""

    id: str | None = None
    name: str | None = None
    data: Any = None
    comment: str | None = None


class Stream:
    """A stream under way."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.headers = response.headers
        self._told = _parsed(response.iter_lines())

    def next(self) -> Told:
        """The next event; comments and what only sets the id are passed over."""
        return next(told for told in self._told if told.name is not None)

    def alive(self) -> bool:
        """Whether a comment comes."""
        return any(told.comment is not None for told in self._told)

    def rest(self) -> list[Told]:
        """All that comes until it ends."""
        return [told for told in self._told if told.name is not None]


def _parsed(lines: Iterator[str]) -> Iterator[Told]:
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield Told(comment=line)
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Told(fields.get("id"), fields.get("event"), data)
            fields = {}


@contextmanager
def following(client: httpx.Client, session_id: str, **options: Any) -> Iterator[Stream]:
    with client.stream("GET", f"/sessions/{session_id}/events", **options) as response:
        assert response.status_code == 200, response.read()
        yield Stream(response)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    directory = tmp_path_factory.mktemp("events")
    with serving(directory / "data", directory, **LIVELY) as served:
        yield served


@pytest.fixture
def client(server: Serving) -> Iterator[httpx.Client]:
    with server.client() as opened:
        yield opened


def made(client: httpx.Client) -> str:
    session_id = new_id()
    assert client.post("/sessions", json={"id": session_id, "name": "One"}).status_code == 200
    return session_id


def rename(client: httpx.Client, session_id: str, name: str) -> None:
    assert client.patch(f"/sessions/{session_id}", json={"name": name}).status_code == 200


def test_what_happens_comes_as_it_happens(client: httpx.Client) -> None:
    session_id = made(client)
    with following(client, session_id) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.alive()
        rename(client, session_id, "Two")
        changed = stream.next()
        assert changed.name == "session.changed"
        assert changed.data["id"] == int(changed.id or "")
        assert changed.data["kind"] == changed.name
        assert changed.data["session_id"] == session_id
        assert changed.data["at"].endswith("Z")
        # and it is alive again and again
        assert stream.alive()
        assert stream.alive()


def test_one_who_was_cut_off_before_anything_came_misses_nothing(client: httpx.Client) -> None:
    session_id = made(client)
    with following(client, session_id) as stream:
        begun = next(told for told in stream._told if told.comment is None)
        assert begun.id is not None
    rename(client, session_id, "Two")
    with following(client, session_id, headers={"Last-Event-ID": begun.id}) as stream:
        assert stream.next().name == "session.changed"


def test_kinds_are_chosen_and_a_gap_is_told(client: httpx.Client) -> None:
    session_id = made(client)
    rename(client, session_id, "Two")
    asked = {"last_event_id": "0", "kinds": "session.changed"}
    with following(client, session_id, params=asked) as stream:
        changed = stream.next()
        assert changed.name == "session.changed"
    # The header of one who comes back goes before the address, which is still that of the first.
    asked = {"last_event_id": "0"}
    lost = {"Last-Event-ID": str(int(changed.id or "") + 1_000)}
    with following(client, session_id, params=asked, headers=lost) as stream:
        gap = stream.next()
        assert (gap.name, gap.id) == ("gap", None)
        rename(client, session_id, "Three")
        assert stream.next().data["version"] > changed.data["version"]


def test_the_last_of_a_session_ends_its_stream(client: httpx.Client) -> None:
    session_id = made(client)
    with following(client, session_id) as stream:
        assert stream.alive()
        assert client.delete(f"/sessions/{session_id}?permanent=true").status_code == 200
        *_, gone, end = stream.rest()
        assert gone.name == "session.deleted"
        assert (end.name, end.data["code"]) == ("end", "session_not_found")
        assert end.data["recovery"]


def test_places_are_bounded_and_free_as_soon_as_a_client_goes(client: httpx.Client) -> None:
    session_id = made(client)
    path = f"/sessions/{session_id}/events"
    with following(client, session_id), following(client, session_id):
        refused = client.get(path)
        assert_problem(refused, 503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    wait_for(lambda: _is_taken(client, path), seconds=2)


def _is_taken(client: httpx.Client, path: str) -> bool:
    with client.stream("GET", path) as response:
        return response.status_code == 200


def test_what_cannot_be_followed_is_a_problem(client: httpx.Client) -> None:
    session_id = made(client)
    assert_problem(client.get("/sessions/nowhere/events"), 404, "session_not_found")
    for asked in (
        {"kinds": "session.chnged"},
        {"last_event_id": "-1"},
        {"last_event_id": "9" * 20},
    ):
        assert_problem(client.get(f"/sessions/{session_id}/events", params=asked), 422)


def test_a_stream_does_not_count_as_a_slow_request(client: httpx.Client) -> None:
    session_id = made(client)
    before, counted = _answering_times(client)
    started = time.monotonic()
    with following(client, session_id) as stream:
        answered_in = time.monotonic() - started
        assert stream.alive()
    wait_for(lambda: _answering_times(client)[1] > counted, seconds=10)
    assert _answering_times(client)[0] - before <= answered_in


def _answering_times(client: httpx.Client) -> tuple[float, int]:
    """The seconds that streams took to be answered, all together, and how many were."""
    labels = 'method="GET",route="/sessions/{session_id}/events",status="2xx"'
    name = "quire_http_request_duration_seconds"
    values = dict.fromkeys(("sum", "count"), 0.0)
    for line in client.get("/metrics").text.splitlines():
        for part in values:
            if line.startswith(f"{name}_{part}{{{labels}}}"):
                values[part] = float(line.split()[-1])
    return values["sum"], round(values["count"])


def test_a_second_process_goes_on_where_the_first_was_killed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tmp_path) as first, first.client() as client:
        session_id = made(client)
        with following(client, session_id) as stream:
            rename(client, session_id, "Two")
            seen = stream.next()
        rename(client, session_id, "Three")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    # when a second process has the data, and the client comes back
    back = {"Last-Event-ID": seen.id}
    with (
        serving(data, tmp_path) as second,
        second.client() as client,
        following(client, session_id, headers=back) as stream,
    ):
        missed = stream.next()
        assert missed.name == "session.changed"
        assert missed.data["version"] == seen.data["version"] + 1
        rename(client, session_id, "Four")
        assert stream.next().data["version"] == seen.data["version"] + 2
        # and a server that is told to stop does not wait for those who listen
        code, seconds = second.stop()
        assert code == 0
        assert seconds < 5
        assert stream.rest() == []


async def test_a_client_that_reads_nothing_is_dropped_and_costs_nothing(tmp_path: Path) -> None:
    live = EventSettings(queue=16, heartbeat_seconds=60)
    async with quire_in(tmp_path, events=live) as quire:
        session = await create(quire)
        reads = asyncio.Event()
        sent: list[bytes] = []

        async def send(message: Any) -> None:
            if sent:
                await reads.wait()
            sent.append(message.get("body", b""))

        async def receive() -> Any:
            await asyncio.Event().wait()

        # given a client that takes the head of the answer, and then nothing
        answer = EventStream(await quire.events.follow(ADA, session.id, after=0))
        streaming = asyncio.create_task(answer({"type": "http"}, receive, send))
        await asyncio.sleep(0)
        reads.set()
        await _until(lambda: b"session.created" in b"".join(sent))
        reads.clear()
        # when far more happens than it may be behind
        for _ in range(10):
            await _tell(quire, session.id, 16)
        # then nothing is kept for it
        await _until(lambda: quire.hub.subscribers == 0)
        assert not answer._following._subscription._waiting
        # and should it read again, it is told so, and that is all
        reads.set()
        async with asyncio.timeout(5):
            await streaming
        text = b"".join(sent)
        assert text.count(b"event: data.changed") < 40
        assert b"event: dropped" in text.rpartition(b"data.changed")[2]


async def _tell(quire: Quire, session_id: str, number: int) -> None:
    async with quire.database.write() as connection:
        happened = [NewEvent(session_id, EventKind.DATA_CHANGED) for _ in range(number)]
        await append_events(connection, happened)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
