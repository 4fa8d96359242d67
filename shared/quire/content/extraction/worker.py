"""The process that opens what strangers send: `python -m quire.content.extraction.worker`.

An order is a line of JSON on standard input; `{"begun": true}` and, later, its answer are lines on
standard output. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from quire.content import media
from quire.content.extraction.confinement import allow_seconds, confine, resident_bytes
from quire.content.extraction.found import Found, Write
from quire.content.extraction.output import Output
from quire.content.extraction.port import WEB_PAGE, WEB_STRUCTURE
from quire.errors import ExtractionFailed


def main() -> None:
    parent, megabytes = (int(argument) for argument in sys.argv[1:])
    confine(parent, megabytes)
    answers = _private_output()
    for line in sys.stdin:
        order = json.loads(line)
        _say(answers, {"begun": True})
        _say(answers, _obey(order) | {"resident": resident_bytes()})


def _private_output() -> IO[str]:
    """Standard output under another number: what a library prints must not be taken for ours."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: IO[str], line: Mapping[str, Any]) -> None:
    answers.write(json.dumps(line) + "\n")
    answers.flush()


def _obey(order: Mapping[str, Any]) -> dict[str, Any]:
    allow_seconds(order["seconds"])
    try:
        found, characters = _extract(order)
    except ExtractionFailed as error:
        return {"failed": error.message, "recovery": error.recovery}
    except MemoryError:
        return {"out_of_memory": True}
    except Exception:  # the boundary: the parent logs it, and blames the document
        return {"broke": traceback.format_exc()}
    return {
        "kind": found.kind,
        "characters": characters,
        "title": found.title,
        "metadata": found.metadata,
    }


def _extract(order: Mapping[str, Any]) -> tuple[Found, int]:
    source = Path(order["source"])
    name, charset = media.parse(order["media_type"])
    extract = _extractor(name, charset)
    if source.stat().st_size == 0:
        raise ExtractionFailed("It is empty: 0 bytes")
    with Path(order["target"]).open("wb") as file:
        output = Output(file, order["bytes"])
        found = extract(source, output.write)
        output.flush()
    return found, output.characters


def _extractor(name: str, charset: str | None) -> Callable[[Path, Write], Found]:
    # Imported when they are first needed: a worker that reads web pages loads no PDF library.
    if name == media.PDF:
        from quire.content.extraction.pdf import extract_pdf  # noqa: PLC0415

        return extract_pdf
    if name == media.DOCX:
        from quire.content.extraction.docx import extract_docx  # noqa: PLC0415

        return extract_docx
    if name == media.HTML:
        from quire.content.extraction.html import extract_html  # noqa: PLC0415

        return lambda source, write: extract_html(source, write, charset)
    if name in (WEB_PAGE, WEB_STRUCTURE):
        from quire.content.extraction import web  # noqa: PLC0415

        return web.extract_page if name == WEB_PAGE else web.extract_structure
    raise ExtractionFailed(f"No text is extracted from {name}")


if __name__ == "__main__":
    main()
