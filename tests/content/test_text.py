"""Text is checked as it passes, counted, and converted where it is not UTF-8."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire.content.text import TextCheck, TextDecoder, encode_text, to_utf8
from quire.errors import InvalidInput


async def blocks(content: bytes, size: int = 3) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), size):
        yield content[begin : begin + size]


async def passed(check: TextCheck, content: bytes, size: int = 3) -> bytes:
    return b"".join([block async for block in check.passing(blocks(content, size))])


async def converted(content: bytes, charset: str | None, errors: str = "strict") -> str:
    pieces = [piece async for piece in to_utf8(blocks(content), charset, errors)]  # type: ignore[arg-type]
    return b"".join(pieces).decode()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
async def test_utf8_passes_unchanged_and_is_counted(size: int) -> None:
    text = "naïve 漢字 🌊\r\n\ttab" * 7
    check = TextCheck()
    assert await passed(check, text.encode(), size) == text.encode()
    assert check.is_verbatim
    assert check.characters == len(text)
    assert check.bom_bytes == 0


async def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    raw = "\ufeffé\ufeff".encode()
    check = TextCheck("utf-8")
    assert await passed(check, raw, 1) == raw
    assert check.is_verbatim
    assert raw[check.bom_bytes :].decode() == "é\ufeff"
    assert check.characters == 2


@pytest.mark.parametrize("size", [1, 2, 4, 7, 1000])
@pytest.mark.parametrize(
    ("content", "byte"),
    [
        (b"abc\xffdef", 3),
        ("é".encode() * 10 + b"\xc3(", 20),
        ("漢".encode() + b"\xed\xa0\x80", 3),  # half of a surrogate pair
        (b"cut off within \xf0\x9f\x8c", 15),
        (b"\x80", 0),
    ],
)
async def test_invalid_utf8_is_refused_by_its_byte(content: bytes, byte: int, size: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        await passed(TextCheck(), content, size)
    assert refused.value.details["byte"] == byte
    assert f"Byte {byte} (0x{content[byte]:02x}) is not valid UTF-8" in refused.value.message
    assert "errors=replace" in refused.value.recovery


async def test_nul_is_refused_by_its_byte() -> None:
    with pytest.raises(InvalidInput, match="Byte 5 is NUL"):
        await passed(TextCheck(), "éé1\0".encode(), 4)
    with pytest.raises(InvalidInput, match="Character 2 is NUL"):
        await passed(TextCheck("utf-16-le"), "éé\0".encode("utf-16-le"), 4)


@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_replacing_leaves_the_blob_alone_and_makes_another_text(size: int) -> None:
    raw = b"\xef\xbb\xbfa\xffb\0c\xe6\xbc"
    check = TextCheck(errors="replace")
    assert await passed(check, raw, size) == raw
    assert not check.is_verbatim
    text = await converted(raw, None, "replace")
    assert text == "a\ufffdb\ufffdc\ufffd"
    assert check.characters == len(text)


async def test_replacing_what_is_valid_changes_nothing() -> None:
    check = TextCheck(errors="replace")
    await passed(check, "naïve".encode())
    assert check.is_verbatim


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("utf-16", "utf-16", "é漢🌊"),
        ("UTF-16BE", "utf-16-be", "\ufeffé漢🌊"),
        ("utf-32", "utf-32", "é漢🌊"),
        ("latin-1", "cp1252", "café “smart” €"),
        ("iso-8859-1", "latin-1", "café \x81"),
        ("windows-1251", "cp1251", "Широкая"),
        ("koi8-r", "koi8-r", "Широкая"),
        ("shift_jis", "cp932", "いろは①"),
        ("euc-jp", "euc_jp", "いろは"),
        ("gb2312", "gb18030", "汉字🌊"),
        ("big5", "big5", "漢字"),
        ("us-ascii", "ascii", "plain"),
    ],
)
async def test_other_charsets_are_decoded(charset: str, codec: str, text: str) -> None:
    raw = text.encode(codec)
    check = TextCheck(charset)
    assert await passed(check, raw) == raw
    expected = text.removeprefix("\ufeff")
    assert await converted(raw, charset) == expected
    assert check.characters == len(expected)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_other_charsets_too_are_refused_by_the_byte(size: int) -> None:
    raw = "ab".encode("utf-16-le") + b"\x00\xdc" + "c".encode("utf-16-le")
    with pytest.raises(InvalidInput) as refused:
        await passed(TextCheck("utf-16-le"), raw, size)
    assert refused.value.details["byte"] == 4
    with pytest.raises(InvalidInput) as refused:
        await passed(TextCheck("shift_jis"), b"abc\x81\x20d", size)
    assert refused.value.details["byte"] == 3


def test_a_string_that_no_encoding_can_hold_is_refused_by_its_character() -> None:
    with pytest.raises(
        InvalidInput, match=r"Character 2 of `documents\[0\].text` is half"
    ) as refused:
        encode_text("ab\ud83dc", field="documents[0].text")
    assert refused.value.field == "documents[0].text"
    with pytest.raises(InvalidInput, match="Character 1 of `text` is NUL"):
        encode_text("a\0")
    assert encode_text("a\ud83d\0é", errors="replace").decode() == "a\ufffd\ufffdé"
    assert encode_text("naïve 🌊").decode() == "naïve 🌊"


@given(st.binary(max_size=200), st.integers(1, 9))
def test_any_bytes_are_taken_or_refused_as_python_would(content: bytes, size: int) -> None:
    decoder = TextDecoder()
    try:
        expected = content.decode("utf-8-sig")
        if "\0" in expected:
            raise ValueError("NUL")
    except ValueError:
        with pytest.raises(InvalidInput):
            _fed(decoder, content, size)
    else:
        assert _fed(decoder, content, size) == expected


def _fed(decoder: TextDecoder, content: bytes, size: int) -> str:
    pieces = [decoder.feed(content[at : at + size]) for at in range(0, len(content), size)]
    return "".join(pieces) + decoder.feed(b"", final=True)


def test_checking_is_faster_than_any_upload() -> None:
    block = ("The quick brown fox, naïve as ever. " * 30_000).encode()
    decoder = TextDecoder()
    begin = time.process_time()
    for _ in range(20):
        decoder.feed(block)
    seconds = time.process_time() - begin
    assert 20 * len(block) / seconds > 100e6  # 475 to 5,300 MB/s where nothing else runs
