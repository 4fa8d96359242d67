"""PDF: the text layer, or a precise word on why there is none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from quire.content.extraction.pdf import extract_pdf
from quire.errors import ExtractionFailed
from tests.content.extraction.files import pdf, scanned_pdf
from tests.content.extraction.make_golden import GOLDEN


def failure(tmp_path: Path, content: bytes) -> ExtractionFailed:
    source = tmp_path / "x.pdf"
    source.write_bytes(content)
    with pytest.raises(ExtractionFailed) as failed:
        extract_pdf(source, lambda _: None)
    return failed.value


def test_an_encrypted_pdf_says_so(tmp_path: Path) -> None:
    failed = failure(tmp_path, (GOLDEN / "encrypted.pdf").read_bytes())
    assert failed.message == "The PDF is encrypted: it opens only with a password"
    assert "without its password" in failed.recovery


def test_a_scan_says_that_it_holds_images(tmp_path: Path) -> None:
    failed = failure(tmp_path, scanned_pdf())
    assert failed.message == "The PDF holds images and no text, as scans do (1 pages)"


def test_empty_pages_say_that_they_hold_no_text(tmp_path: Path) -> None:
    assert failure(tmp_path, pdf([[], []])).message == "The PDF holds no text (2 pages)"


def test_one_pdf_is_not_blamed_for_what_was_wrong_with_another(tmp_path: Path) -> None:
    failure(tmp_path, (GOLDEN / "encrypted.pdf").read_bytes())
    assert "no page can be found" in failure(tmp_path, pdf([])).message


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_pdf_that_is_cut_off_says_so(tmp_path: Path, kept: float) -> None:
    whole = (GOLDEN / "paper.pdf").read_bytes()
    assert "broken" in failure(tmp_path, whole[: int(len(whole) * kept)]).message


def test_noise_says_that_it_is_broken(tmp_path: Path) -> None:
    noise = b"%PDF-1.7\n" + random.Random(7).randbytes(20_000)
    assert "broken" in failure(tmp_path, noise).message


def test_a_page_that_cannot_be_read_fails_the_document(tmp_path: Path) -> None:
    broken = pdf([["one"], ["two"]]).replace(
        b"7 0 obj\n<< /Type /Page ", b"7 0 obj\n<< /Type /Nope "
    )
    assert "page 2 of 2 cannot be read" in failure(tmp_path, broken).message
