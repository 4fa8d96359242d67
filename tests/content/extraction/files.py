"""Small documents, made byte by byte: what tests break, and what the golden files came from."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_CORE = "http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties"


def docx(body: str, parts: Mapping[str, str] | None = None) -> bytes:
    """A DOCX of this body, with `parts` (styles, numbering, footnotes, core) beside it."""
    entries = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}">'
        f'<Relationship Type="{_OFFICE}/officeDocument" Target="word/document.xml"/>'
        f'<Relationship Type="{_CORE}" Target="docProps/core.xml"/></Relationships>',
        "word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>",
    }
    relations = ""
    for name, xml in (parts or {}).items():
        if name == "core":
            entries["docProps/core.xml"] = xml
            continue
        entries[f"word/{name}.xml"] = xml
        relations += f'<Relationship Type="{_OFFICE}/{name}" Target="{name}.xml"/>'
    entries["word/_rels/document.xml.rels"] = (
        f'<Relationships xmlns="{_PACKAGE}">{relations}</Relationships>'
    )
    return archive(entries)


def archive(entries: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive, the same bytes for the same entries."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, content)
    return made.getvalue()


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def pdf(pages: Sequence[Sequence[str]], info: Mapping[str, str] | None = None) -> bytes:
    """A PDF of pages of lines, in Helvetica and ASCII."""
    contents = [
        "BT /F1 12 Tf 72 720 Td 14 TL " + "".join(f"({line}) Tj T* " for line in page) + "ET"
        for page in pages
    ]
    resources = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    return _pdf([(content.encode(), resources) for content in contents], b"", info or {})


def scanned_pdf() -> bytes:
    """A PDF of one page that shows a picture, and has no text."""
    pixels = zlib.compress(bytes(range(256)))
    image = (
        b"<< /Type /XObject /Subtype /Image /Width 16 /Height 16 /ColorSpace /DeviceGray "
        b"/BitsPerComponent 8 /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream"
        % (len(pixels), pixels)
    )
    return _pdf([(b"400 0 0 400 72 200 cm /Im1 Do", "/XObject << /Im1 4 0 R >>")], image, {})


def _pdf(pages: Sequence[tuple[bytes, str]], fourth: bytes, info: Mapping[str, str]) -> bytes:
    described = " ".join(f"/{key} ({value})" for key, value in info.items())
    first_page = 5
    kids = " ".join(f"{first_page + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        f"<< {described} >>".encode(),
        fourth or b"null",
    ]
    for position, (content, resources) in enumerate(pages):
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents "
            f"{first_page + 2 * position + 1} 0 R /Resources << {resources} >> >>".encode(),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        ]
    made = bytearray(b"%PDF-1.7\n")
    places = []
    for number, thing in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, thing)
    table = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"trailer\n<< /Size %d /Root 1 0 R /Info 3 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        table,
    )
    return bytes(made)
