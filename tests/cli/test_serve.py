"""`quire serve`: up with one command, down without a trace, and clear when it cannot."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.backends.ports import LOOPBACK
from tests.cli.command import SECRET, quire, serving, started, wait_for


def test_it_serves_until_told_to_stop_and_keeps_what_it_was_given(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tmp_path) as server, server.client() as client:
        assert client.get("/healthz").json()["status"] == "healthy"
        assert client.get("/readyz").json()["ready"] is True
        assert "server" not in client.get("/healthz").headers
        created = client.post("/sessions", json={"id": "kept", "name": "Kept"})
        assert created.status_code == 200, created.text
        code, seconds = server.stop()
        assert code == 0, server.said
        assert seconds < 10

    # It says where things are and what to try, once.
    for words in (str(data), "Qdrant Edge", "SQLite", "no authentication", "curl", "/docs"):
        assert words in server.out
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, int(server.port)))
    # Nothing is left that belongs to a process: no write-ahead log, no half-made file.
    left = {path.name for path in data.iterdir()}
    assert left == {"blobs", "collections", "quire.db", "quire.db.jobs-lock", "quire.lock"}

    with serving(data, tmp_path) as server, server.client() as client:
        assert client.get("/sessions/kept").json()["name"] == "Kept"
        assert server.stop(signal.SIGINT)[0] == 0


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path / "data", tmp_path) as server:
        second = quire("serve", "--port", "0", data_dir=tmp_path / "data")
        assert second.code == 2
        assert f"in use by the Quire process {server.process.pid}" in second.err
        assert "QUIRE_DATA_DIR" in second.err
        with server.client() as client:
            assert client.get("/readyz").json()["ready"] is True


def test_a_port_in_use_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        refused = quire("serve", "--port", port, data_dir=tmp_path / "data")
    assert refused.code == 2
    assert f"Port {port} of 127.0.0.1 is in use" in refused.err
    assert not (tmp_path / "data").exists()


def test_other_machines_are_not_served_without_authentication(tmp_path: Path) -> None:
    refused = quire("serve", "--host", "0.0.0.0", data_dir=tmp_path)
    assert refused.code == 2
    assert "QUIRE_HOST=0.0.0.0" in refused.err
    assert "QUIRE_AUTH_SECRET" in refused.err


def test_a_wrong_setting_is_named_with_what_is_valid(tmp_path: Path) -> None:
    refused = quire("serve", data_dir=tmp_path, QUIRE_PORT="eighty", QUIRE_HOTS="1")
    assert (refused.code, refused.out) == (2, "")
    assert "QUIRE_PORT: input should be a valid integer" in refused.err
    assert "QUIRE_HOTS is not a setting" in refused.err


def test_a_data_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = quire("serve", "--port", "0", data_dir=tmp_path / "file" / "data")
    assert refused.code == 2
    assert f"QUIRE_DATA_DIR={tmp_path / 'file' / 'data'} cannot be used" in refused.err


def test_logs_in_json_are_json_and_hold_no_secret(tmp_path: Path) -> None:
    with started(
        *("serve", "--port", "0"),
        data_dir=tmp_path / "data",
        logs=tmp_path,
        QUIRE_LOG_FORMAT="json",
        QUIRE_AUTH_SECRET=SECRET,
    ) as server:
        wait_for(lambda: "serves at" in server.said)
        assert server.stop()[0] == 0
    lines = [json.loads(line) for line in server.said.splitlines()]
    [greeting] = [line for line in lines if "serves at" in line["event"]]
    assert greeting["access"] == "bearer tokens, signed with QUIRE_AUTH_SECRET"
    assert SECRET not in server.said


def exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def test_what_is_no_request_gets_a_problem_like_every_other_error(tmp_path: Path) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
    endless = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(100))
    long_body = b"Content-Length: 200000\r\n\r\n" + b" " * 200_000

    with serving(tmp_path / "data", tmp_path) as server:
        port = int(server.port)
        assert exchange(port, head + b"\r\n").startswith(b"HTTP/1.1 200 ")
        # A body is not the head, however long.
        assert b"HTTP/1.1 200 " in exchange(port, head + long_body)
        # Nor is the block in which a long one ends, whatever else is in it.
        much = b"Content-Length: 4000000\r\n\r\n" + b" " * 4_000_000
        for _ in range(20):
            with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
                connection.sendall(head + much + head + b"Connection: close\r\n\r\n")
                answers = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answers.count(b"HTTP/1.1 200 ") == 2, answers[:200]
        garbage = exchange(port, b"this is no HTTP\r\n\r\n")
        too_large = exchange(port, head + endless)
    assert garbage.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in garbage
    assert too_large.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"head_too_large"' in too_large
