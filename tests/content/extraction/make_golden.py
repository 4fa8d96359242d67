"""Makes the golden files anew, and what is expected of each: the text in .txt, the rest in .json.

`python -m tests.content.extraction.make_golden`; then read by eye what changed. It does not make:
- paper.pdf is paper.html printed: `chromium --headless --no-pdf-header-footer
  --print-to-pdf=paper.pdf paper.html`;
- encrypted.pdf and restricted.pdf are report.pdf, encrypted with pypdf 7.1
  (`encrypt("secret", algorithm="AES-256")`, and `encrypt("", owner_password="secret")`);
- the other .html files.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

from quire.content.extraction.docx import extract_docx
from quire.content.extraction.found import Found
from quire.content.extraction.html import extract_html
from quire.content.extraction.output import Output
from quire.content.extraction.pdf import extract_pdf
from tests.content.extraction.files import W, docx, paragraph, pdf

GOLDEN = Path(__file__).parent / "golden"
EXTRACTORS = {".docx": extract_docx, ".html": extract_html, ".pdf": extract_pdf}
UNREADABLE = frozenset(["encrypted.pdf"])


def golden_files() -> list[Path]:
    sources = [path for path in GOLDEN.iterdir() if path.suffix in EXTRACTORS]
    return sorted(path for path in sources if path.name not in UNREADABLE)


def extracted(source: Path) -> tuple[str, Found]:
    """What comes out of a file, without a process of its own."""
    file = BytesIO()
    output = Output(file, 1_000_000)
    found = EXTRACTORS[source.suffix](source, output.write)
    output.flush()
    return file.getvalue().decode(), found


def described(found: Found) -> str:
    whole = {"kind": found.kind, "title": found.title, "metadata": dict(found.metadata)}
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


STYLES = f"""<w:styles {W}>
<w:style w:type="paragraph" w:styleId="Ttl"><w:name w:val="Title"/></w:style>
<w:style w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/></w:style>
<w:style w:type="paragraph" w:styleId="Own"><w:name w:val="Chapter"/><w:basedOn w:val="H1"/>
</w:style>
<w:style w:type="paragraph" w:styleId="H2"><w:name w:val="Abschnitt"/>
<w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>
<w:style w:type="paragraph" w:styleId="LB"><w:name w:val="List Bullet"/>
<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>
</w:styles>"""
NUMBERING = f"""<w:numbering {W}>
<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>
<w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:start w:val="3"/>
<w:numFmt w:val="decimal"/></w:lvl><w:lvl w:ilvl="1"><w:numFmt w:val="lowerLetter"/></w:lvl>
</w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>
<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>
</w:numbering>"""
FOOTNOTES = f"""<w:footnotes {W}>
<w:footnote w:id="0" w:type="separator"><w:p><w:r><w:t>never seen</w:t></w:r></w:p></w:footnote>
<w:footnote w:id="2">{paragraph("A note of two paragraphs.")}{paragraph("The second.")}</w:footnote>
</w:footnotes>"""
CORE = """<cp:coreProperties
xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Annual  report</dc:title>
<dc:creator>Ada Lovelace</dc:creator></cp:coreProperties>"""


def _styled(style: str, text: str) -> str:
    return paragraph(text, f'<w:pStyle w:val="{style}"/>')


def _item(list_id: int, level: int, text: str) -> str:
    return paragraph(
        text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{list_id}"/></w:numPr>'
    )


def _row(*cells: str) -> str:
    return "<w:tr>" + "".join(f"<w:tc>{cell}</w:tc>" for cell in cells) + "</w:tr>"


RUNS = (
    "<w:p><w:r><w:t xml:space='preserve'>Café &amp; </w:t></w:r><w:r><w:t>more</w:t></w:r>"
    '<w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:t>; kept</w:t></w:r>'
    "<w:del><w:r><w:delText> deleted</w:delText></w:r></w:del>"
    "<w:ins><w:r><w:t> and added</w:t></w:r></w:ins>"
    "<w:moveFrom><w:r><w:t> moved away</w:t></w:r></w:moveFrom>"
    "<w:r><w:rPr><w:vanish/></w:rPr><w:t> hidden</w:t></w:r>"
    "<w:r><w:instrText> PAGE </w:instrText></w:r>"
    "<w:r><w:t>.</w:t><w:br/><w:t>A line</w:t><w:tab/><w:t>and a tab 𝄞.</w:t></w:r></w:p>"
)
BODY = "".join(
    [
        _styled("Ttl", "Annual report"),
        _styled("Own", "What we did"),
        RUNS,
        _styled("H2", "Lists"),
        _styled("LB", "by its style"),
        _item(1, 1, "deeper"),
        _item(1, 0, "by itself"),
        paragraph("Between."),
        _item(2, 0, "three"),
        _item(2, 1, "a letter, as a number"),
        _item(2, 0, "four"),
        _styled("H2", "Tables"),
        "<w:tbl>"
        + _row(paragraph("Year"), paragraph("Sum"))
        + _row(paragraph("2025"), paragraph("10") + paragraph("(net)"))
        + _row(paragraph("2026"), f"<w:tbl>{_row(paragraph('in'), paragraph('ner'))}</w:tbl><w:p/>")
        + "</w:tbl>",
        '<w:p><w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/'
        'markup-compatibility/2006"><mc:Choice><w:txbxContent>'
        + paragraph("In a box")
        + "</w:txbxContent></mc:Choice><mc:Fallback><w:txbxContent>"
        + paragraph("In a box")
        + "</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r>"
        "<w:r><w:t>Beside the box.</w:t></w:r></w:p>",
    ]
)
PAGES = [
    ["Annual report", "", "This page divides a com-", "pound at the end of its line,", "and 1914-"]
    + ["1918, and a well-", "known one that is well-known."],
    [],
    ["The third page follows an empty one."],
]


def main() -> None:
    report = docx(
        BODY, {"styles": STYLES, "numbering": NUMBERING, "footnotes": FOOTNOTES, "core": CORE}
    )
    (GOLDEN / "report.docx").write_bytes(report)
    info = {"Title": "Annual report", "Author": "Ada Lovelace"}
    (GOLDEN / "report.pdf").write_bytes(pdf(PAGES, info))
    page = '<html lang="{0}"><meta charset="{1}"><title>{2}</title><p>{2}'
    russian = page.format("ru", "windows-1251", "Широкая электрификация")
    (GOLDEN / "windows-1251.html").write_bytes(russian.encode("windows-1251"))
    # It lies: in UTF-16 the declaration could not have been read. The byte order mark wins.
    japanese = page.format("ja", "shift_jis", "いろはにほへと 𠮷")
    (GOLDEN / "utf-16.html").write_bytes(japanese.encode("utf-16"))
    undeclared = "<title>Déjà vu</title><p>Smart “quotes”, undeclared"
    (GOLDEN / "undeclared.html").write_bytes(undeclared.encode("windows-1252"))
    for source in golden_files():
        text, found = extracted(source)
        source.with_name(source.name + ".txt").write_text(text, newline="")
        source.with_name(source.name + ".json").write_text(described(found))


if __name__ == "__main__":
    main()
