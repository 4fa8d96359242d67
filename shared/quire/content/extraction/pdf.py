"""PDF to text, page by page.

A page ends with a form feed and a blank line, so that a chunker breaks there and the page of a
character can be counted. Words that the end of a line divides are joined, unless the page spells
the same word with its hyphen elsewhere; all other line breaks stay as they are printed.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
from pypdfium2 import raw

from quire.content.extraction.found import Found, Write, one_line, said
from quire.content.models import TextKind
from quire.errors import ExtractionFailed

_PAGE_END = "\f\n\n"
# The library's sign for a hyphen at the end of a line, which it has joined with the next.
_DIVIDED = re.compile(r"(\w{0,80})\x02(\w{0,80})")
_REASONS = {
    raw.FPDF_ERR_PASSWORD: (
        "The PDF is encrypted: it opens only with a password",
        "Send it without its password (print it to a new PDF, or `qpdf --decrypt`).",
    ),
    raw.FPDF_ERR_SECURITY: (
        "The PDF is encrypted in a way that cannot be read",
        "Send it without encryption (print it to a new PDF, or `qpdf --decrypt`).",
    ),
}


def extract_pdf(source: Path, write: Write) -> Found:
    """Write the text layer; a PDF that has none is refused, for nothing of it could be found."""
    with _opened(source) as document:
        pages = len(document)
        if pages == 0:
            raise ExtractionFailed("The PDF is broken or cut off: it has no pages")
        silent = 0
        for number in range(pages):
            text = _page_text(document, number)
            silent += not text
            write(text if number == pages - 1 else text + _PAGE_END)
        if silent == pages:
            _refuse_silent(document)
        about = document.get_metadata_dict()
    metadata = said(author=about.get("Author")) | {"pages": pages}
    if silent:
        metadata["pages_without_text"] = silent
    return Found(TextKind.PLAIN, one_line(about.get("Title")), metadata)


def _opened(source: Path) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        # Where the library names no cause of its own, it names that of the PDF before.
        if error.err_code in _REASONS and _is_encrypted(source):
            reason, recovery = _REASONS[error.err_code]
            raise ExtractionFailed(reason, recovery=recovery) from error
        raise ExtractionFailed(
            "The PDF is broken or cut off: no page can be found in it"
        ) from error


def _is_encrypted(source: Path) -> bool:
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return held.find(b"/Encrypt") >= 0


def _page_text(document: pypdfium2.PdfDocument, number: int) -> str:
    try:
        page = document[number]
        try:
            text = page.get_textpage().get_text_bounded(errors="replace")
        finally:
            page.close()
    except pypdfium2.PdfiumError as error:
        raise ExtractionFailed(
            f"The PDF is broken: page {number + 1} of {len(document)} cannot be read"
        ) from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    return _joined(lines).strip()


def _joined(page: str) -> str:
    def join(divided: re.Match[str]) -> str:
        before, after = divided[1], divided[2]
        with_hyphen = f"{before}-{after}"
        is_one_word = before[-1:].isalpha() and after[:1].islower()
        return before + after if is_one_word and with_hyphen not in page else with_hyphen

    return _DIVIDED.sub(join, page)


def _refuse_silent(document: pypdfium2.PdfDocument) -> None:
    for page in document:
        if next(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4), None) is not None:
            raise ExtractionFailed(
                f"The PDF holds images and no text, as scans do ({len(document)} pages)",
                recovery="Run text recognition over it (`ocrmypdf` does that), then send it again.",
            )
        page.close()
    raise ExtractionFailed(f"The PDF holds no text ({len(document)} pages)")
