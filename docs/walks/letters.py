"""A small website to walk through: an archive of letters, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PLACES = ["the harbour", "the mill", "the chapel", "the market", "the orchard", "the ferry"]
MATTERS = [
    "the price of barley, and how the carts came late because of the rain",
    "the new bell, which rings a little flat but is loved all the same",
    "a wedding with forty guests, two fiddlers and a dog that would not leave",
    "the bees, which have moved into the roof and pay no rent",
    "the school, where thirty children learn to write with slates and chalk",
    "the winter stores: apples in straw, salted herring, and too few candles",
    "a quarrel over a fence that neither neighbour wants to stand",
    "the travelling players, whose tiger turned out to be two men in a carpet",
    "the surgeon, who sets bones well and talks without end",
    "the long frost, in which the river could be walked upon for nine days",
]
STORM = (
    "In the night of the great storm the lamp of the lighthouse went out. The keeper's daughter "
    "rowed across the bay alone with a can of oil between her knees, climbed the stairs, and lit "
    "the lamp again before the mail ship came in sight. Nobody had asked her to."
)


def letter(number: int) -> str:
    place, matter = PLACES[number % len(PLACES)], MATTERS[number % len(MATTERS)]
    body = STORM if number == 41 else f"I write to you from {place}. This is about {matter}."
    closing = f"Give my greetings to everyone at home. Yours, clerk number {number}."
    return (
        f"<html><head><title>Letter {number}</title></head><body><main><h1>Letter {number}</h1>"
        f"<p>Dear friend,</p><p>{body}</p><p>{closing}</p></main></body></html>"
    )


def index(letters: int) -> str:
    links = "".join(f'<li><a href="/letters/{n}">Letter {n}</a></li>' for n in range(letters))
    return (
        "<html><head><title>The archive</title></head><body><main><h1>The archive</h1>"
        f"<p>These are the letters of the district.</p><ul>{links}</ul></main></body></html>"
    )


def on_a_free_port(pages: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """One of those that Quire fetches from."""
    for port in range(8900, 9000):
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), pages)
        except OSError:
            continue
    raise OSError("no port from 8900 to 8999 is free")


@contextmanager
def served(letters: int = 60) -> Iterator[str]:
    """The site's address, for as long as it is served."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, _, number = self.path.strip("/").partition("/")
            if name == "" or (name == "letters" and number.isdigit()):
                page = letter(int(number)) if number else index(letters)
                self.answer(200, page)
            else:
                self.answer(404, "<p>There is no such page.</p>")

        def answer(self, status: int, page: str) -> None:
            content = page.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Nothing: the walk tells what it does."""

    server = on_a_free_port(Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
