"""The bytes of an attachment on their way in: counted, and their beginning looked at."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterable, AsyncIterator
from urllib.parse import unquote_to_bytes

from quire.activity.media_sniffing import HEAD_BYTES
from quire.errors import BodyTooLarge, InvalidInput

DATA_URL = re.compile(r"data:([^,]{0,1000}?)(;\s*base64\s*)?,", re.IGNORECASE)


async def arriving(content: AsyncIterable[bytes], most: int) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first bytes, and everything with them: never more than the limit."""
    rest = _counted(content, most)
    blocks: list[bytes] = []
    async for block in rest:
        blocks.append(block)
        if sum(map(len, blocks)) >= HEAD_BYTES:
            break

    async def whole() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block
        async for block in rest:
            yield block

    return b"".join(blocks)[:HEAD_BYTES], whole()


def from_data_url(url: str) -> tuple[str | None, bytes]:
    """What a `data:` URL (RFC 2397) says of its type, and its bytes."""
    found = DATA_URL.match(url)
    if found is None:
        raise InvalidInput(
            "data_url must look like data:image/png;base64,iVBORw0… (RFC 2397)", field="data_url"
        )
    media_type, encoded = found[1].strip() or None, url[found.end() :]
    if found[2] is None:
        return media_type, unquote_to_bytes(encoded)
    try:
        # Percent signs, for URLs that were encoded whole; and base64 may leave its padding out.
        plain = unquote_to_bytes(encoded) if "%" in encoded else encoded.encode("ascii")
        return media_type, base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidInput(f"data_url is not base64: {error}", field="data_url") from None


async def _counted(content: AsyncIterable[bytes], most: int) -> AsyncIterator[bytes]:
    size = 0
    async for block in content:
        size += len(block)
        if size > most:
            raise BodyTooLarge(
                f"The attachment is over the limit of {most} bytes "
                "(QUIRE_ACTIVITY_ATTACHMENT_BYTES)"
            )
        yield block
