"""What only shows on a real socket: framing, half-sent bodies, going down in order, a full disk."""

from __future__ import annotations

import json
import resource
import socket
import threading
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api.live import LiveService, live_service, until
from tests.api.service import assert_problem, new_id
from tests.backends.ports import LOOPBACK
from tests.store.test_database import may_mount, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    with live_service(tmp_path_factory.mktemp("live")) as service:
        yield service


def exchange(live: LiveService, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes as they are; status, headers and body of the first answer."""
    with socket.create_connection((LOOPBACK, live.port), timeout=10) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break  # it has answered, and hears no more
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except (ConnectionResetError, TimeoutError):
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


def head(*lines: str, method: str = "POST", path: str = "/sessions") -> bytes:
    first = f"{method} {path} HTTP/1.1"
    always = ["Host: localhost", "Content-Type: application/json", "Connection: close"]
    return "\r\n".join([first, *always, *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 2", "Content-Length: 20"],
        ["Content-Length: 2, 20"],
        ["Content-Length: -1"],
        ["Content-Length: two"],
        ["Content-Length: 99999999999999999999999"],
        ["Transfer-Encoding: chunked", "Content-Length: 2"],
    ],
)
def test_framing_that_could_mean_two_things_is_refused(live: LiveService, lines: list[str]) -> None:
    status, _, body = exchange(live, head(*lines), b"{}")
    assert status in {400, 413, 422}
    assert b"Traceback" not in body


def test_a_chunked_body_is_cut_off_while_it_comes_in(live: LiveService) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    status, headers, body = exchange(live, head("Transfer-Encoding: chunked"), *([chunk] * 40))
    assert status == 413
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == "body_too_large"


def test_a_body_that_breaks_off_is_no_request(live: LiveService) -> None:
    """And is not carried out, with or without a key."""
    for keyed in ([], [f"Idempotency-Key: {new_id()}"]):
        name = new_id("broken")
        body = json.dumps({"name": name}).encode()
        with socket.create_connection((LOOPBACK, live.port), timeout=10) as connection:
            connection.sendall(head(f"Content-Length: {len(body) + 10}", *keyed) + body)
        until(lambda: httpx.get(f"{live.url}/healthz").status_code == 200)
        assert httpx.get(f"{live.url}/sessions", params={"q": name}).json() == []
    assert "Traceback" not in live.log()


def test_a_request_that_is_none_does_no_harm(live: LiveService) -> None:
    for rubbish in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((LOOPBACK, live.port), timeout=10) as connection:
            connection.sendall(rubbish)
            connection.settimeout(5)
            answer = connection.recv(65536)
            assert answer == b"" or b" 400 " in answer
    assert httpx.get(f"{live.url}/healthz").status_code == 200


def test_the_answer_names_no_software(live: LiveService) -> None:
    _, headers, _ = exchange(live, head(method="GET", path="/healthz"))
    assert "server" not in headers
    assert headers["x-request-id"]


def test_what_was_acknowledged_is_there_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    with live_service(tmp_path) as live, httpx.Client(base_url=live.url, timeout=30) as client:
        ids: list[str] = []
        for end in (live.process.stop, live.process.kill):
            # given clients that create while the process ends
            lock = threading.Lock()

            def create(count: int = 200) -> None:
                for _ in range(count):
                    session_id = new_id()
                    body = {"id": session_id, "name": "s"}
                    try:
                        answer = client.post("/sessions", json=body)
                    except httpx.TransportError:
                        return
                    if answer.status_code == 200:
                        with lock:  # noqa: B023
                            ids.append(session_id)

            before = len(ids)
            clients = [threading.Thread(target=create) for _ in range(3)]
            for each in clients:
                each.start()
            until(lambda: len(ids) >= before + 10)  # noqa: B023
            end()
            for each in clients:
                each.join()
            live.start()
            # then all that was acknowledged is there, and its collection with it
            for session_id in ids:
                stats = client.get(f"/sessions/{session_id}/stats").json()
                assert stats["collection_stats"]["points_count"] == 0
            # and nothing else
            listed = client.get("/sessions", params={"limit": 1000}).json()
            assert {session["id"] for session in listed} >= set(ids)
            for session in listed:
                stats = client.get(f"/sessions/{session['id']}/stats").json()
                assert stats["collection_stats"]["points_count"] == 0


@contextmanager
def fuller(kind: str, live: LiveService, place: Path) -> Iterator[None]:
    """While this lasts, the service finds no room to write to."""
    if kind == "a small disk":
        ballast = place / "more-ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        yield
        ballast.unlink()
    else:
        assert live.process.pid
        limits = resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, (100_000, limits[1]))
        yield
        resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("kind", ["files that may not grow", *["a small disk"] * may_mount()])
def test_on_a_full_disk_reading_goes_on_and_writing_says_why(tmp_path: Path, kind: str) -> None:
    small = small_disk(tmp_path, megabytes=160) if kind == "a small disk" else nullcontext()
    with small, live_service(tmp_path) as live, httpx.Client(base_url=live.url) as client:
        session_id = new_id()
        assert client.post("/sessions", json={"id": session_id, "name": "s"}).is_success
        path = f"/sessions/{session_id}"
        big = {"metadata": {"k": "x" * 200_000}}
        with fuller(kind, live, tmp_path):
            # reading goes on
            for _ in range(3):
                assert client.get(path).status_code == 200
                assert client.get("/sessions").status_code == 200
                # and writing is refused, whole
                for response in (
                    client.put(path, json=big),
                    client.post("/sessions", json={"name": "s", **big}),
                ):
                    assert_problem(response, 507, "storage_full")
                    assert response.headers["retry-after"]
            assert client.get(path).json()["metadata"] == {}
            assert client.get("/healthz").status_code == 200
        # when there is room again, so does writing
        assert client.put(path, json=big).status_code == 200
        assert client.post("/sessions", json={"name": "s"}).status_code == 200
        assert client.delete(f"{path}?permanent=true").status_code == 200
