"""Every format's text, title and metadata are exactly what lies beside the golden files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.content.extraction.make_golden import described, extracted, golden_files


def test_there_is_a_golden_file_of_every_format() -> None:
    assert {path.suffix for path in golden_files()} == {".html", ".pdf", ".docx"}


@pytest.mark.parametrize("source", golden_files(), ids=lambda path: path.name)
def test_text_and_description_are_as_before(source: Path) -> None:
    text, found = extracted(source)
    assert text == source.with_name(source.name + ".txt").read_bytes().decode()
    assert described(found) == source.with_name(source.name + ".json").read_text()
