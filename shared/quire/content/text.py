"""Text: checked, counted, and turned into UTF-8 where it is something else."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Literal

from quire.errors import InvalidInput, UnsupportedMedia

Errors = Literal["strict", "replace"]
"""What becomes of bytes that are no text: refused, or replaced by U+FFFD."""

REPLACEMENT = "\ufffd"
_BOM = "\ufeff"

# Codecs, as Python calls them. It knows more, some of which are no charsets at all (base64, zip).
_CHARSETS = frozenset(
    ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
    + [f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)]
    + [f"cp{page}" for page in (437, 850, 852, 866, 874, *range(1250, 1259))]
    + ["koi8-r", "koi8-u", "mac-roman", "gb18030", "big5hkscs", "cp932", "euc_jp", "iso2022_jp"]
    + ["cp949", "johab"]
)
# What is sent under these names is, in practice, written in the wider charset: the same table that
# browsers go by (the WHATWG's Encoding Standard).
_WIDER = {
    "ascii": "utf-8",
    "utf-8-sig": "utf-8",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
# windows-1252, and Latin-1's control characters where that has holes: every byte is a character.
_WESTERN = "".join(
    bytes([byte]).decode("latin-1" if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else "cp1252")
    for byte in range(256)
)


def require_charset(label: str) -> str:
    """The codec for a charset's name as it stands in a Content-Type."""
    try:
        name = codecs.lookup(label.strip()).name
    except (LookupError, ValueError):
        name = ""
    name = _WIDER.get(name, name)
    if name not in _CHARSETS:
        raise UnsupportedMedia(
            f"charset={label[:50]!r} is not one that can be read; UTF-8, UTF-16, UTF-32, "
            "ISO-8859-1 to -16, windows-1250 to -1258, KOI8, GB18030, Big5, Shift_JIS, EUC-JP, "
            "ISO-2022-JP and EUC-KR are",
            recovery="Send the text in UTF-8, or name one of the charsets that the message lists.",
            charset=label[:50],
        )
    return name


class TextDecoder:
    """Bytes in, block by block; characters out, without a byte order mark and without NUL."""

    def __init__(self, charset: str | None = None, errors: Errors = "strict") -> None:
        self._codec = require_charset(charset or "utf-8")
        self._errors = errors
        self._fed = 0
        self._begun = False
        self._pending = b""  # the beginning of a character, in UTF-8
        self._decoder = (
            None
            if self._codec in ("utf-8", "cp1252")
            else codecs.getincrementaldecoder(self._codec)(errors)
        )
        self.characters = 0
        self.bom_bytes = 0
        """How long a byte order mark was; known once there was a character."""
        self.is_verbatim = self._codec == "utf-8"
        """The bytes after the byte order mark are the text, in UTF-8."""

    def feed(self, block: bytes, *, final: bool = False) -> str:
        """The characters that are certain by now; `InvalidInput` says at which byte they end."""
        try:
            text = self._decode(block, final)
        except UnicodeDecodeError as error:
            # A decoder may have put what was left over in front of the block.
            raise self._invalid(error, self._fed + len(block) - len(error.object)) from None
        if not self._begun and text:
            self._begun = True
            if text[0] == _BOM:
                text = text[1:]
                self.bom_bytes = 3 if self._codec == "utf-8" else 0
        if "\0" in text:
            text = self._without_nul(text, block)
        self._fed += len(block)
        self.characters += len(text)
        return text

    def _decode(self, block: bytes, final: bool) -> str:
        if self._decoder is not None:
            return self._decoder.decode(block, final)
        if self._codec == "cp1252":
            return codecs.charmap_decode(block, "strict", _WESTERN)[0]
        data = self._pending + block if self._pending else block
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            if self._errors == "strict":
                raise
            self.is_verbatim = False
            text, used = codecs.utf_8_decode(data, "replace", final)
        self._pending = data[used:]
        return text

    def _invalid(self, error: UnicodeDecodeError, begin: int) -> InvalidInput:
        at = begin + error.start
        byte = error.object[error.start]
        return InvalidInput(
            f"Byte {at} (0x{byte:02x}) is not valid {self._codec.upper()}: {error.reason}",
            recovery="Name the charset that it is in (Content-Type: ...; charset=...), or send "
            "errors=replace to have U+FFFD put in the place of such bytes.",
            byte=at,
        )

    def _without_nul(self, text: str, block: bytes) -> str:
        if self._errors == "strict":
            where = (
                f"Byte {self._fed + block.index(0)}"
                if self._codec == "utf-8"
                else f"Character {self.characters + text.index(chr(0))}"
            )
            raise _nul(where)
        self.is_verbatim = False
        return text.replace("\0", REPLACEMENT)


class TextCheck:
    """Looks at text that passes by on its way into a blob, and lets it through unchanged.

    At the end, where `is_verbatim`, the text is the blob from `bom_bytes` on; otherwise `to_utf8`
    makes it from the blob. What is not text ends the stream with `InvalidInput`.
    """

    def __init__(self, charset: str | None = None, errors: Errors = "strict") -> None:
        self._decoder = TextDecoder(charset, errors)

    @property
    def characters(self) -> int:
        return self._decoder.characters

    @property
    def bom_bytes(self) -> int:
        return self._decoder.bom_bytes

    @property
    def is_verbatim(self) -> bool:
        return self._decoder.is_verbatim

    async def passing(self, content: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        """The same blocks, each once it has been checked."""
        async for block in content:
            self._decoder.feed(block)
            yield block
        self._decoder.feed(b"", final=True)


async def to_utf8(
    content: AsyncIterable[bytes], charset: str | None = None, errors: Errors = "strict"
) -> AsyncGenerator[bytes, None]:
    """The text in UTF-8, without a byte order mark."""
    decoder = TextDecoder(charset, errors)
    async for block in content:
        if text := decoder.feed(block):
            yield text.encode()
    if text := decoder.feed(b"", final=True):
        yield text.encode()


def encode_text(text: str, *, field: str = "text", errors: Errors = "strict") -> bytes:
    """A string from JSON as UTF-8; lone surrogates and NUL are refused, or replaced."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        if errors == "strict":
            raise InvalidInput(
                f"Character {error.start} of `{field}` is half of a surrogate pair "
                f"(U+{ord(text[error.start]):04X}), which no encoding can hold",
                field=field,
                recovery="Repair the text, or send errors=replace to have U+FFFD put in its place.",
                character=error.start,
            ) from None
        # `replace` would put a question mark here.
        encoded = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    if b"\0" in encoded:
        if errors == "strict":
            raise _nul(f"Character {text.index(chr(0))} of `{field}`", field)
        encoded = encoded.replace(b"\0", REPLACEMENT.encode())
    return encoded


def _nul(where: str, field: str | None = None) -> InvalidInput:
    return InvalidInput(
        f"{where} is NUL, which text does not hold",
        field=field,
        recovery="Remove it, or send errors=replace to have U+FFFD put in its place; if this is "
        "no text at all, send its own Content-Type.",
    )
