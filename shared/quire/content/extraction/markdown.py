"""Blocks of Markdown: paragraphs, headings, items, rows, code; a blank line between them.

What a reader sees is not escaped: text is for people and models, not for a Markdown renderer.
"""

from __future__ import annotations

import re

from quire.content.extraction.found import Write

_FENCES = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)
# Deeper than this, more indentation says nothing more, and would cost its depth on every line.
_DEEPEST_INDENT = 8


class Blocks:
    """Writes one block after the other. Blocks of one group (a list, a table) stand close."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._group: object = None
        self._is_first = True

    def paragraph(self, text: str, group: object = None) -> None:
        """A block as it is; nothing where the text is empty."""
        if not text:
            return
        if not self._is_first:
            close = group is not None and group is self._group
            self._write("\n" if close else "\n\n")
        self._write(text)
        self._is_first = False
        self._group = group

    def heading(self, level: int, text: str) -> None:
        if line := " ".join(text.split()):
            self.paragraph(f"{'#' * min(max(level, 1), 6)} {line}")

    def item(self, depth: int, marker: str, text: str, group: object) -> None:
        """An item of a list, or, with no marker, what goes on with it."""
        if not text:
            return
        indent = "  " * min(depth, _DEEPEST_INDENT)
        first = f"{indent}{marker} " if marker else f"{indent}  "
        self.paragraph(first + text.replace("\n", f"\n{indent}  "), group)

    def row(self, cells: list[str], group: object) -> None:
        """A row of a table; nothing where every cell is empty."""
        if any(cells):
            self.paragraph(" | ".join(" ".join(cell.split()) for cell in cells).strip(), group)

    def code(self, text: str) -> None:
        """Verbatim, in a fence that nothing in it can close."""
        if text.strip():
            longest = max((len(fence) for fence in _FENCES.findall(text)), default=2)
            fence = "`" * (longest + 1)
            self.paragraph(f"{fence}\n{text.strip(chr(10))}\n{fence}")
