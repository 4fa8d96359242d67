"""DOCX: strangers' archives, and what is said of those that are something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from quire.content.extraction import docx_package
from quire.content.extraction.docx import extract_docx
from quire.errors import ExtractionFailed
from tests.content.extraction.files import W, archive, docx, paragraph


def text_of(tmp_path: Path, content: bytes) -> str:
    source = tmp_path / "x.docx"
    source.write_bytes(content)
    pieces: list[str] = []
    extract_docx(source, pieces.append)
    return "".join(pieces)


def failure(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(ExtractionFailed) as failed:
        text_of(tmp_path, content)
    return failed.value.message


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (paragraph("a") + paragraph("") + paragraph("b"), "a\n\nb"),
        ("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:cr/><w:t>c</w:t></w:r></w:p>", "a\tb\nc"),
        ("<w:p><w:r><w:t>non</w:t><w:noBreakHyphen/><w:t>stop</w:t></w:r></w:p>", "non‑stop"),
        (paragraph("x", '<w:outlineLvl w:val="2"/>'), "### x"),
        (paragraph("x", '<w:outlineLvl w:val="9"/>'), "x"),
        (paragraph("x", '<w:numPr><w:ilvl w:val="-7"/><w:numId w:val="99"/></w:numPr>'), "x"),
        (paragraph("x", '<w:tabs><w:tab w:val="left" w:pos="720"/></w:tabs>'), "x"),
        (
            paragraph("x", '<w:pPrChange><w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:pPrChange>'),
            "x",
        ),
        ("<w:p><w:pPr><w:rPr><w:vanish/></w:rPr></w:pPr><w:r><w:t>seen</w:t></w:r></w:p>", "seen"),
        ("<w:sdt><w:sdtContent>" + paragraph("control") + "</w:sdtContent></w:sdt>", "control"),
        ("", ""),
    ],
)
def test_what_the_document_says(tmp_path: Path, body: str, text: str) -> None:
    assert text_of(tmp_path, docx(body)) == text


def test_styles_that_rest_on_each_other_end(tmp_path: Path) -> None:
    styles = f"""<w:styles {W}>
    <w:style w:styleId="A"><w:basedOn w:val="B"/></w:style>
    <w:style w:styleId="B"><w:basedOn w:val="A"/></w:style></w:styles>"""
    body = paragraph("x", '<w:pStyle w:val="A"/>')
    assert text_of(tmp_path, docx(body, {"styles": styles})) == "x"


def test_deep_nesting_needs_no_recursion(tmp_path: Path) -> None:
    depth = 100_000
    body = "<w:sdt>" * depth + paragraph("deep") + "</w:sdt>" * depth
    assert text_of(tmp_path, docx(body)) == "deep"


def test_other_archives_are_named(tmp_path: Path) -> None:
    assert "holds no word/document.xml" in failure(tmp_path, archive({"photo.jpg": b"x"}))
    assert "an Excel workbook" in failure(tmp_path, archive({"xl/workbook.xml": "<x/>"}))
    outside = docx("").replace(b"word/document.xml", b"etc_/document.xml")
    assert "It is no DOCX" in failure(tmp_path, outside)


def test_an_encrypted_document_says_so(tmp_path: Path) -> None:
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000)
    assert "encrypted, or older than 2007" in failure(tmp_path, old)
    locked = bytearray(docx(paragraph("x")))
    # Bit 0 of the flags, of every entry in the directory.
    at = -1
    while (at := locked.find(b"PK\x01\x02", at + 1)) >= 0:
        locked[at + 8] |= 1
    assert "is encrypted" in failure(tmp_path, bytes(locked))


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_an_archive_that_is_cut_off_says_so(tmp_path: Path, kept: float) -> None:
    whole = docx(paragraph("x" * 100))
    assert "broken" in failure(tmp_path, whole[: int(len(whole) * kept)])


def test_a_part_that_is_damaged_says_so(tmp_path: Path) -> None:
    whole = bytearray(docx("".join(paragraph(f"{n * n}") for n in range(2000))))
    middle = len(whole) // 2
    whole[middle : middle + 50] = bytes(50)
    assert "word/document.xml" in failure(tmp_path, bytes(whole))
    assert "is not XML" in failure(tmp_path, docx("<w:p><w:r></w:p>"))


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    laughs = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {name} "{f"&{inner};" * 10}">'
        for inner, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    bomb = f"<!DOCTYPE x [{laughs}]><w:document {W}><w:body><w:p>&i;</w:p></w:body></w:document>"
    document = archive({"[Content_Types].xml": "<Types/>", "word/document.xml": bomb})
    assert "as XML bombs do" in failure(tmp_path, document)
    outside = '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>'
    document = archive({"[Content_Types].xml": "<Types/>", "word/document.xml": outside})
    assert "as XML bombs do" in failure(tmp_path, document)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = docx(paragraph("0" * (docx_package.RATIO_FROM + 1_000_000)))
    assert len(bomb) < 100_000
    assert "as zip bombs do" in failure(tmp_path, bomb)

    monkeypatch.setattr(docx_package, "MAX_UNPACKED", 1_000_000)
    assert "more than 0 MB of XML" in failure(tmp_path, docx(paragraph("0" * 2_000_000)))


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    crowd = archive({f"word/{n}.xml": "" for n in range(docx_package.MAX_ENTRIES + 1)})
    assert "entries" in failure(tmp_path, crowd)
