"""What a document is: what the sender says, else its name, else its bytes."""

from __future__ import annotations

import pytest

from quire.content import media
from quire.content.media import MediaType, parse, recognise
from quire.content.models import TextKind
from quire.errors import UnsupportedMedia
from tests.content.extraction.files import archive, docx, paragraph, pdf

A_PDF = pdf([["text"]])
A_DOCX = docx(paragraph("text"))
OFFICE_97 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)


@pytest.mark.parametrize(
    ("said", "name", "kind"),
    [
        ("text/plain", "text/plain", TextKind.PLAIN),
        ("TEXT/Markdown; variant=CommonMark", "text/markdown", TextKind.MARKDOWN),
        ("text/x-python", "text/x-python", TextKind.PLAIN),
        ("application/yaml", "application/yaml", TextKind.PLAIN),
        ("text/html", "text/html", None),
        ("application/xhtml+xml", "text/html", None),
        ("application/json", "application/json", TextKind.JSON),
        ("application/feed+json", "application/feed+json", TextKind.JSON),
        ("application/jsonl", "application/x-ndjson", TextKind.LINES),
        ("text/csv; header=present", "text/csv", TextKind.CSV),
        ("text/tab-separated-values", "text/tab-separated-values", TextKind.CSV),
    ],
)
def test_what_the_sender_says_wins_over_name_and_look(
    said: str, name: str, kind: TextKind | None
) -> None:
    assert recognise(said, "x.md", b'{"looks": "like JSON"}') == MediaType(name, kind)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b/notes.MD", media.MARKDOWN),
        ("page.htm", media.HTML),
        ("rows.jsonl", media.NDJSON),
        ("table.csv", media.CSV),
        ("table.tsv", media.TSV),
        ("x.log", media.PLAIN),
    ],
)
@pytest.mark.parametrize("said", [None, "", "application/octet-stream", "application/vnd.ms-excel"])
def test_where_the_sender_says_nothing_the_name_decides(
    said: str | None, name: str, expected: str
) -> None:
    assert recognise(said, name, b"some text").name == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (A_PDF, media.PDF),
        (A_DOCX, media.DOCX),
        (b"\n<!-- a page --><!DOCTYPE HTML><p>", media.HTML),
        (b"\xef\xbb\xbf<html lang=en>", media.HTML),
        (b' {"a": 1}', media.JSON),
        (b'[{"a": 1}, {"a": 2}]', media.JSON),
        (b'{"a": 1}\n{"a": 2}\n', media.NDJSON),
        (b"[Chorus] {la la}", media.PLAIN),
        ('{"a": "漢"}'.encode("utf-16"), media.JSON),
        ("\u00e9".encode() * 3000, media.PLAIN),
        (b"x" + ("\u00e9".encode() * 3000), media.PLAIN),  # the head ends within a character
        (b"", media.PLAIN),
    ],
)
def test_with_no_name_the_bytes_decide(head: bytes, expected: str) -> None:
    assert recognise(None, "no-ending", head[: media.HEAD_BYTES]).name == expected


@pytest.mark.parametrize("head", [b"<!--" * 1000, b"<!-- -->" * 500, b"[" * 4096, b"{" * 4096])
def test_a_hostile_beginning_is_looked_at_in_no_time(head: bytes) -> None:
    assert recognise(None, None, head).name == media.PLAIN


@pytest.mark.parametrize(
    ("said", "name", "head", "meaning"),
    [
        ("text/plain", None, A_PDF, "a PDF"),
        ("text/markdown", None, A_DOCX, "a ZIP archive"),
        (None, "x.csv", A_DOCX, "a ZIP archive"),
        ("application/pdf", None, b"just words", "text"),
        (None, "x.pdf", b"<html>", "text"),
        ("application/pdf", None, A_DOCX, "a ZIP archive"),
        (media.DOCX, None, A_PDF, "a PDF"),
        (media.DOCX, None, b"words", "no ZIP archive"),
    ],
)
def test_bytes_that_contradict_are_refused(
    said: str | None, name: str | None, head: bytes, meaning: str
) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        recognise(said, name, head)
    assert f"it is {meaning}" in refused.value.message


@pytest.mark.parametrize(
    ("said", "head", "meaning"),
    [
        ("image/png", b"", "image/png"),
        ("text/rtf", b"{\\rtf1", "text/rtf"),
        ("nonsense", b"x", "nonsense"),
        (None, b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (None, OFFICE_97, "older than 2007"),
        (None, archive({"xl/workbook.xml": "<x/>"}), "an Excel workbook"),
        (None, archive({"photo.jpg": b"x"}), "a ZIP archive"),
        (None, b"\x00\x01\x02", "no text"),
        (None, b"caf\xe9 in Latin-1", "no text"),
    ],
)
def test_an_unknown_type_is_refused_with_what_works(
    said: str | None, head: bytes, meaning: str
) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        recognise(said, None, head)
    assert meaning in refused.value.message
    for works in ("text/*", "Markdown", "HTML", "JSON", "NDJSON", "CSV", "PDF", "DOCX"):
        assert works in refused.value.message


def test_what_only_its_reader_can_judge_is_let_through() -> None:
    assert recognise(media.DOCX, None, OFFICE_97).name == media.DOCX  # perhaps encrypted
    assert recognise("application/pdf", None, b"\r\n" + A_PDF).name == media.PDF
    assert recognise("application/pdf", None, bytes(range(256))).name == media.PDF
    assert recognise("application/pdf", None, b"").name == media.PDF


@pytest.mark.parametrize(
    ("said", "head", "charset"),
    [
        ('text/plain; Charset="utf-16"; x=y', b"", "utf-16"),
        ("text/html; charset=koi8-r", b"", "koi8-r"),
        ("text/plain", "x".encode("utf-16"), "utf-16"),
        ("text/plain", "x".encode("utf-32"), "utf-32"),
        ("text/plain; charset=latin-1", b"caf\xe9", "latin-1"),
        ("text/plain", b"\xef\xbb\xbfx", None),
        (f"{media.DOCX}; charset=utf-8", A_DOCX, None),
    ],
)
def test_the_charset_is_what_the_sender_or_a_byte_order_mark_says(
    said: str, head: bytes, charset: str | None
) -> None:
    media_type = recognise(said, None, head)
    assert media_type.charset == charset
    assert parse(str(media_type)) == (media_type.name, charset)


@pytest.mark.parametrize("charset", ["base64", "x-unknown", "utf-7", "idna"])
def test_an_unknown_charset_is_refused(charset: str) -> None:
    with pytest.raises(UnsupportedMedia, match="UTF-16"):
        recognise(f"text/plain; charset={charset}", None, b"x")


def test_only_what_is_no_text_yet_needs_extraction() -> None:
    kinds = {name: recognise(name, None, b"").needs_extraction for name in media._KINDS}
    assert {name for name, needs in kinds.items() if needs} == {media.HTML, media.PDF, media.DOCX}
