"""HTTP/1.1 on a connection, with what the parser leaves open: a limit, and our form of errors."""

from __future__ import annotations

from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quire.errors import BadRequest, QuireError
from quire_api.problems import problem_response

# A request line and all header fields; a token has at most 8 KiB.
HEAD_BYTES = 64 * 1024


class HeadTooLarge(BadRequest):
    """The request line and header fields are over the limit."""

    code = "head_too_large"
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    recovery = "Send a shorter URL and fewer or shorter header fields."


class Protocol(HttpToolsProtocol):
    """httptools collects a request's head without end; here it ends."""

    _head_bytes = 0
    _in_head = True
    _holds_body = False

    def data_received(self, data: bytes) -> None:
        """Count while the head comes in, which is before any of it is known to the application."""
        self._holds_body = not self._in_head
        super().data_received(data)
        # A block in which a body ended is not counted for the head that may begin in it.
        if self._in_head and not self._holds_body and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(
                    HeadTooLarge(f"The request's head is over {HEAD_BYTES} bytes, the limit")
                )

    def on_message_begin(self) -> None:
        self._head_bytes, self._in_head = 0, True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after a chunked body is read by nobody, least of all as a header field.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes, self._in_head, self._holds_body = 0, True, True

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an answer like every other error."""
        self._refuse(BadRequest("This is not a valid HTTP/1.1 request"))

    def _refuse(self, error: QuireError) -> None:
        answer = problem_response(error, None, {"Connection": "close"})
        phrase = HTTPStatus(error.status).phrase
        head = b"".join(b"%b: %b\r\n" % (name, value) for name, value in answer.raw_headers)
        body = bytes(answer.body)
        self.transport.write(
            f"HTTP/1.1 {int(error.status)} {phrase}\r\n".encode() + head + b"\r\n" + body
        )
        self.transport.close()
