"""`Idempotency-Key` on any POST: the same key and request get the first answer again."""

from __future__ import annotations

import re
from contextlib import closing

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quire.access.principal import Principal
from quire.errors import BadRequest, InvalidInput, QuireError
from quire.idempotency import Answer, IdempotencyKeys, derived_id
from quire_api.kept_body import KeptBody
from quire_api.problems import problem_response
from quire_api.uploading import is_piece

VALID_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
KEPT_HEADERS = frozenset({b"content-type", b"location", b"etag", b"link", b"allow", b"retry-after"})


class Idempotency:
    """Inside authentication and the body limit: keys are per caller, bodies are bounded."""

    def __init__(self, app: ASGIApp, keys: IdempotencyKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            if not VALID_KEY.fullmatch(key):
                raise InvalidInput(
                    "An Idempotency-Key is 1 to 255 visible ASCII characters",
                    field="Idempotency-Key",
                )
            await self._once(key.decode(), scope, receive, send)
        except QuireError as error:
            await problem_response(error, scope["request_id"])(scope, receive, send)

    async def _once(self, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["principal"]
        caller = principal.subject or ""
        request = f"{scope['path']}?{scope['query_string'].decode('latin-1')}\n".encode()
        try:
            body = await KeptBody.read(scope, receive, request)
        except ClientDisconnect:
            raise BadRequest("The body broke off") from None
        with closing(body):
            await self._answer(caller, key, body, scope, send)

    async def _answer(
        self, caller: str, key: str, body: KeptBody, scope: Scope, send: Send
    ) -> None:
        answer = await self._keys.claim(caller, key, body.fingerprint)
        if answer is None:
            scope["derived_id"] = derived_id(caller, key)
            try:
                answer = await self._run(scope, body)
            except BaseException:
                await self._keys.release(caller, key)
                raise
            if answer.status >= 500:
                await self._keys.release(caller, key)
            else:
                await self._keys.settle(caller, key, answer)
        await _replay(answer, send)

    async def _run(self, scope: Scope, body: KeptBody) -> Answer:
        messages: list[Message] = []

        async def keeping(message: Message) -> None:
            messages.append(message)

        await self._app(scope, body.receive, keeping)
        start, *parts = messages
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in start["headers"]
            if name in KEPT_HEADERS
        }
        content = b"".join(part.get("body", b"") for part in parts)
        return Answer(start["status"], headers, content)


def _key(scope: Scope) -> bytes | None:
    if scope["type"] != "http" or scope["method"] != "POST" or "principal" not in scope:
        return None
    if is_piece(scope):
        return None  # too large to be kept; whoever sends a key with it is told so
    return next((value for name, value in scope["headers"] if name == b"idempotency-key"), None)


async def _replay(answer: Answer, send: Send) -> None:
    headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
