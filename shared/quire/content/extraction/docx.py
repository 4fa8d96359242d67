"""DOCX to Markdown, streamed: the document as it reads with every change accepted.

Text boxes come before the paragraph that they hang on, notes at the end. What is deleted, hidden,
a field's code or another program's second version of the same is left out; so are headers, footers
and comments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from quire.content.extraction.docx_package import Attributes, Package
from quire.content.extraction.docx_styles import BODY, Numbering, Styles, level_of
from quire.content.extraction.found import Found, Write, one_line, said
from quire.content.extraction.markdown import Blocks
from quire.content.models import TextKind

_LEFT_OUT = frozenset(
    ["w:del", "w:moveFrom", "w:delText", "w:instrText", "w:delInstrText", "mc:Fallback", "w:rt"]
    + ["w:pPrChange", "w:rPrChange"]  # what the formatting was before it was changed
)
_TEXT = frozenset(["w:t", "m:t"])
_NOTES = {"w:footnoteReference": "", "w:endnoteReference": "e"}
_OFF = frozenset(["0", "false", "off"])


@dataclass(slots=True)
class _Paragraph:
    parts: list[str] = field(default_factory=list)
    style: str = ""
    outline: int | None = None
    list_id: str | None = None
    list_level: int = 0


@dataclass(slots=True)
class _Table:
    cells: list[str] = field(default_factory=list)
    cell: list[str] = field(default_factory=list)


def extract_docx(source: Path, write: Write) -> Found:
    """Write the document's text; answer its title and its author."""
    with Package(source) as package:
        main = package.main_part()
        parts = dict(package.relations(main))
        blocks = Blocks(write)
        styles = Styles(package, parts.get("styles", ""))
        numbering = Numbering(package, parts.get("numbering", ""))
        reading = _Reading(blocks, styles, numbering)
        package.parse(main, reading.start, reading.end, reading.characters)
        for kind, prefix in (("footnotes", ""), ("endnotes", "e")):
            notes = _Notes(blocks, styles, numbering, prefix)
            package.parse(parts.get(kind, ""), notes.start, notes.end, notes.characters)
        about = _properties(package)
    return Found(
        TextKind.MARKDOWN,
        one_line(about.get("dc:title")) or reading.first_heading,
        said(
            author=about.get("dc:creator"),
            description=about.get("dc:description"),
            language=about.get("dc:language"),
        ),
    )


def _properties(package: Package) -> dict[str, str]:
    about: dict[str, str] = {}
    current = ""

    def start(tag: str, attributes: Attributes) -> None:
        nonlocal current
        current = tag

    def characters(text: str) -> None:
        about[current] = about.get(current, "") + text

    part = dict(package.relations("")).get("core-properties", "")
    package.parse(part, start, lambda _: None, characters)
    return about


class _Reading:
    """One pass over WordprocessingML."""

    def __init__(self, blocks: Blocks, styles: Styles, numbering: Numbering) -> None:
        self._blocks = blocks
        self._styles = styles
        self._numbering = numbering
        self._paragraphs: list[_Paragraph] = []
        self._tables: list[_Table] = []
        self._table_group: object = None
        self._list_group: object = None
        self._skipped = 0
        """How deep we are in something that is left out."""
        self._in_text = False
        self._hidden = False
        self.first_heading: str | None = None

    def start(self, tag: str, attributes: Attributes) -> None:
        if self._skipped or tag in _LEFT_OUT:
            self._skipped += 1
            return
        if tag in _TEXT:
            self._in_text = True
        elif tag == "w:p":
            self._paragraphs.append(_Paragraph())
        elif tag == "w:r":
            self._hidden = False
        elif tag == "w:tbl":
            if not self._tables:
                self._table_group = object()
            self._tables.append(_Table())
        elif self._paragraphs:
            self._in_paragraph(tag, attributes, self._paragraphs[-1])

    def _in_paragraph(self, tag: str, attributes: Attributes, paragraph: _Paragraph) -> None:
        value = attributes.get("w:val", "")
        if tag == "w:pStyle":
            paragraph.style = value
        elif tag == "w:outlineLvl":
            paragraph.outline = level_of(value, BODY)
        elif tag == "w:numId":
            paragraph.list_id = value
        elif tag == "w:ilvl":
            paragraph.list_level = level_of(value)
        elif tag == "w:vanish":
            self._hidden = value not in _OFF
        elif self._hidden:
            return
        elif tag in ("w:tab", "w:ptab"):
            if "w:pos" not in attributes:  # with one it defines a tab stop
                paragraph.parts.append("\t")
        elif tag in ("w:br", "w:cr"):
            paragraph.parts.append("\n")
        elif tag == "w:noBreakHyphen":
            paragraph.parts.append("\u2011")
        elif tag in _NOTES:
            paragraph.parts.append(f"[^{_NOTES[tag]}{attributes.get('w:id', '')}]")

    def end(self, tag: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif tag in _TEXT:
            self._in_text = False
        elif tag == "w:p" and self._paragraphs:
            self._end_paragraph(self._paragraphs.pop())
        elif tag == "w:r":
            self._hidden = False
        elif self._tables:
            table = self._tables[-1]
            if tag == "w:tc":
                table.cells.append(" ".join(table.cell))
                table.cell.clear()
            elif tag == "w:tr":
                self._end_row(table)
            elif tag == "w:tbl":
                self._tables.pop()

    def characters(self, text: str) -> None:
        if self._in_text and self._paragraphs and not self._skipped and not self._hidden:
            self._paragraphs[-1].parts.append(text)

    def _end_row(self, table: _Table) -> None:
        if len(self._tables) > 1:  # a table within a cell is read as that cell's words
            self._tables[-2].cell += filter(None, table.cells)
        else:
            self._blocks.row(table.cells, self._table_group)
        table.cells.clear()

    def _end_paragraph(self, paragraph: _Paragraph) -> None:
        text = "".join(paragraph.parts).strip()
        if not text:
            return
        if self._tables:
            self._tables[-1].cell.append(text)
            return
        level = paragraph.outline
        if level is None:
            level = self._styles.level(paragraph.style)
        if level < BODY:
            self.first_heading = self.first_heading or one_line(text)
            self._blocks.heading(level + 1, text)
            self._list_group = None
            return
        marker = self._marker(paragraph)
        if marker is None:
            self._list_group = None
            self._paragraph(text)
        else:
            self._list_group = self._list_group or object()
            self._blocks.item(paragraph.list_level, marker, text, self._list_group)

    def _marker(self, paragraph: _Paragraph) -> str | None:
        if paragraph.list_id is None:
            of_style = self._styles.numbering(paragraph.style)
            if of_style is None:
                return None
            paragraph.list_id, paragraph.list_level = of_style
        return self._numbering.marker(paragraph.list_id, paragraph.list_level)

    def _paragraph(self, text: str) -> None:
        self._blocks.paragraph(text)


class _Notes(_Reading):
    """The notes' own part: each note begins with the mark that refers to it."""

    def __init__(self, blocks: Blocks, styles: Styles, numbering: Numbering, prefix: str) -> None:
        super().__init__(blocks, styles, numbering)
        self._prefix = prefix
        self._mark = ""
        self._is_note = False

    def start(self, tag: str, attributes: Attributes) -> None:
        if tag in ("w:footnote", "w:endnote"):
            # The others are the lines that part notes from the text.
            self._is_note = attributes.get("w:type", "normal") == "normal"
            self._mark = f"[^{self._prefix}{attributes.get('w:id', '')}]: "
        super().start(tag, attributes)

    def _paragraph(self, text: str) -> None:
        if self._is_note:
            self._blocks.paragraph(self._mark + text)
            self._mark = ""
