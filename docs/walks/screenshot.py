"""Walk 5: a screenshot in an ephemeral session, while events stream; then all is gone.

make serve
.venv/bin/python docs/walks/screenshot.py http://127.0.0.1:8087
"""

from __future__ import annotations

import struct
import sys
import threading
import uuid
import zlib

import httpx


def png() -> bytes:
    """A small picture, as a browser would take it."""

    def part(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    rows = b"".join(b"\0" + bytes([x * 16, y * 16, 128]) * 16 for y in range(16) for x in [y])
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", header)
        + part(b"IDAT", zlib.compress(rows))
        + part(b"IEND", b"")
    )


def listen(address: str, session_id: str, heard: list[str], listening: threading.Event) -> None:
    """Note the kinds of events, until the stream ends."""
    with httpx.stream("GET", f"{address}/sessions/{session_id}/events", timeout=30) as stream:
        listening.set()
        for line in stream.iter_lines():
            if line.startswith("event: "):
                heard.append(line.removeprefix("event: "))


def walk(address: str) -> None:
    session_id = f"pause-{uuid.uuid4()}"  # the client's own choice
    http = httpx.Client(base_url=address, timeout=30)
    wanted = {"id": session_id, "name": "pause", "ttl_seconds": 300}
    http.post("/sessions", json=wanted).raise_for_status()

    heard: list[str] = []
    listening = threading.Event()
    listener = threading.Thread(target=listen, args=(address, session_id, heard, listening))
    listener.start()
    listening.wait(10)

    picture = png()
    path = f"/sessions/{session_id}/attachments/frame.png"
    put = http.put(path, content=picture, params={"ephemeral": "true"})
    print(f"put: {put.status_code}, {put.json()['media_type']}, {put.json()['size_bytes']} bytes")
    again = http.put(path, content=picture, params={"ephemeral": "true"})
    print(f"the same again: {again.status_code}")
    got = http.get(path)
    print(f"read back: {got.headers['content-type']}, the same bytes: {got.content == picture}")

    for attempt in ("ended", "ended again"):
        answer = http.post(f"/sessions/{session_id}/end", params={"delete": "true"})
        print(f"{attempt}: {answer.status_code}")
    print(f"read after the end: {http.get(path).status_code}")
    listener.join(10)
    print(f"heard of the attachment: {'attachment.changed' in heard}")
    print(f"the stream ended with: {heard[-1]}")


if __name__ == "__main__":
    walk(sys.argv[1])
