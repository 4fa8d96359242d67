"""HTML to Markdown: what a reader of the whole page sees.

Links leave their text and pictures their alternative text; scripts, styles, forms' choices and
whatever is hidden leave nothing. A table that holds headings, lists or tables is a layout: its
cells are read one after the other.
"""

from __future__ import annotations

import re
from pathlib import Path

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode, SelectolaxError

from quire.content.extraction.found import Found, Write, one_line, said
from quire.content.extraction.html_depth import flattened, tags
from quire.content.extraction.markdown import Blocks
from quire.content.models import TextKind
from quire.content.text import TextDecoder, require_charset
from quire.errors import ExtractionFailed, UnsupportedMedia

_UNSEEN = tags(
    "head script style template noscript title iframe object embed audio video canvas datalist "
    "select noembed noframes annotation annotation-xml desc metadata defs area param"
)
_BLOCKS = tags(
    "html body address article aside blockquote center dd details dir div dl dt fieldset "
    "figcaption figure footer form header hgroup hr legend li main menu nav ol optgroup p pre "
    "listing plaintext xmp search section summary table caption thead tbody tfoot tr td th ul "
    "h1 h2 h3 h4 h5 h6"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset(["ul", "ol", "menu", "dir"])
_VERBATIM = frozenset(["pre", "listing", "plaintext", "xmp"])
_LAYOUT = "table, h1, h2, h3, h4, h5, h6, ul, ol, dl, pre, article, section, form, blockquote"

_HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_WHITESPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_SPACES = re.compile(r"  +")
_AROUND_BREAK = re.compile(r" *\n *")
_BREAKS = re.compile(r"\n{3,}")
_META_CHARSET = re.compile(rb"<meta[^>]+?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def extract_html(source: Path, write: Write, charset: str | None = None) -> Found:
    """Write what a page shows; answer what its head says."""
    return write_text(flattened(decoded(source.read_bytes(), charset)), write)


def write_text(html: str, write: Write) -> Found:
    """The same of a page that was decoded, and flattened, already."""
    page = _parsed(html)
    root = page.root
    if root is None:
        raise ExtractionFailed("The HTML holds no elements")
    blocks = Blocks(write)
    title = one_line(_text_of(page.css_first("head title")))
    heading = page.css_first("h1")
    if title is not None and heading is None:
        blocks.heading(1, title)
    _Reading(blocks).read(root)
    return Found(
        TextKind.MARKDOWN,
        title or one_line(_text_of(heading)),
        said(
            description=_meta(page, "description") or _meta(page, "og:description"),
            author=_meta(page, "author"),
            language=(root.attributes.get("lang") or root.attributes.get("xml:lang")),
            canonical_url=_canonical(page),
        ),
    )


def _parsed(page: str) -> LexborHTMLParser:
    try:
        return LexborHTMLParser(page, options=LexborDocumentOptions.WO_EVENTS)
    except SelectolaxError as error:  # whatever stands in it is HTML: only memory can fail
        raise MemoryError from error


def decoded(raw: bytes, charset: str | None) -> str:
    """As browsers do: the byte order mark, the sender, the page itself; else UTF-8 or Western."""
    mark = next((name for mark, name in _BOMS if raw.startswith(mark)), None)
    name = mark or charset or _declared(raw)
    if name is None:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            name = "windows-1252"
    return TextDecoder(name, "replace").feed(raw, final=True)


def _declared(raw: bytes) -> str | None:
    declared = _META_CHARSET.search(raw, 0, 4096)
    if declared is None:
        return None
    try:
        codec = require_charset(declared[1].decode("ascii"))
    except (UnsupportedMedia, UnicodeDecodeError):
        return None
    # In UTF-16 the declaration could not have been read.
    return "utf-8" if codec.startswith(("utf-16", "utf-32")) else codec


class _Reading:
    """One walk over a page, without recursion: however deep it is, the stack is this object's."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._line: list[str] = []
        self._lists: list[list[int | None]] = []
        """Of each list we are in: the number of its next item, None where it has bullets."""
        self._list_group: object = None
        self._marker = ""
        self._heading = 0
        self._verbatim = 0
        self._tables: list[list[str] | None] = []
        """Of each table we are in: the cells of its row so far; None for a layout."""
        self._table_group: object = None
        self._quotes = 0

    def read(self, root: LexborNode) -> None:
        node: LexborNode | None = root
        open_nodes: list[tuple[LexborNode, str]] = []
        while True:
            if node is not None:
                child = self._enter(node)
                if child is not None:
                    open_nodes.append((node, node.tag or ""))
                    node = child
                    continue
            else:
                if not open_nodes:
                    break
                node, tag = open_nodes.pop()
                self._leave(tag)
            node = node.next if open_nodes else None
        self._end_block()

    def _enter(self, node: LexborNode) -> LexborNode | None:
        """What a node begins; answers its first child, if what is in it is to be read."""
        if node.is_text_node:
            text = node.text_content or ""
            if not self._verbatim:
                text = " " if text.isspace() else _WHITESPACE.sub(" ", text)
            self._line.append(text)
            return None
        if not node.is_element_node:
            return node.first_child if node.is_document_node else None
        tag = node.tag or ""
        if tag in _UNSEEN or _is_hidden(node):
            return None
        if tag in _BLOCKS:
            self._begin_block(tag, node)
        elif tag == "br":
            self._line.append("\n")
        elif tag == "img":
            self._line.append(f" {_WHITESPACE.sub(' ', node.attributes.get('alt') or '')} ")
        elif tag == "q":
            self._line.append("“")
        child = node.first_child
        if child is None:
            self._leave(tag)
        return child

    def _begin_block(self, tag: str, node: LexborNode) -> None:
        if self._verbatim:  # what is in it is verbatim too
            self._verbatim += tag in _VERBATIM
            return
        self._end_block()
        if tag in _LISTS:
            if not self._lists:
                self._list_group = object()
            self._lists.append([_start_of(node) if tag == "ol" else None])
            self._marker = ""
        elif tag == "li":
            self._marker = self._next_marker()
        elif tag == "table":
            self._tables.append(None if _is_layout(node) else [])
            self._table_group = object()
        elif tag in _HEADINGS:
            self._heading = _HEADINGS[tag]
        elif tag in _VERBATIM:
            self._verbatim = 1
        elif tag == "blockquote":
            self._quotes += 1

    def _leave(self, tag: str) -> None:
        if tag == "q":
            self._line.append("”")
        if tag not in _BLOCKS:
            return
        if self._verbatim:
            self._verbatim -= tag in _VERBATIM
            if self._verbatim:
                self._line.append("\n")  # a block in it, as pages that number their lines have
            else:
                text = "".join(self._line)
                self._line.clear()
                self._blocks.code(text)
            return
        row = self._tables[-1] if self._tables else None
        if tag in ("td", "th") and row is not None:
            row.append(self._taken_line())
            return
        if tag == "caption" and row is not None:
            self._blocks.paragraph(self._taken_line(), self._table_group)
            return
        self._end_block()
        if tag == "tr" and row:
            self._blocks.row(row, self._table_group)
            row.clear()
        elif tag == "table" and self._tables:
            self._tables.pop()
        elif tag in _LISTS and self._lists:
            self._lists.pop()
        elif tag in _HEADINGS:
            self._heading = 0
        elif tag == "blockquote":
            self._quotes -= 1

    def _end_block(self) -> None:
        """Write the line so far as what it is in: in a table's row it only ends a word."""
        row = self._tables[-1] if self._tables else None
        if row is not None and not self._heading:
            if self._line:
                self._line.append(" ")
            return
        text = self._taken_line()
        if not text:
            return
        if self._heading:
            self._blocks.heading(self._heading, text)
        elif self._lists:
            self._blocks.item(len(self._lists) - 1, self._marker, text, self._list_group)
            self._marker = ""
        elif self._quotes:
            self._blocks.paragraph("> " + text.replace("\n", "\n> "))
        else:
            self._blocks.paragraph(text)

    def _taken_line(self) -> str:
        text = "".join(self._line).strip()
        self._line.clear()
        text = _SPACES.sub(" ", text)
        if "\n" not in text:
            return text
        return _BREAKS.sub("\n\n", _AROUND_BREAK.sub("\n", text)).strip()

    def _next_marker(self) -> str:
        number = self._lists[-1][0] if self._lists else None
        if number is None:
            return "-"
        self._lists[-1][0] = number + 1
        return f"{number}."


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    if node.tag == "dialog" and "open" not in attributes:
        return True
    if not attributes:
        return False
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return True
    style = attributes.get("style")
    return style is not None and _HIDING.search(style) is not None


def _is_layout(table: LexborNode) -> bool:
    # Asked of its children, for a node's search finds the node itself.
    part = table.first_child
    while part is not None:
        if part.is_element_node and part.css_first(_LAYOUT) is not None:
            return True
        part = part.next
    return False


def _start_of(node: LexborNode) -> int:
    start = node.attributes.get("start") or ""
    return int(start) if re.fullmatch(r"-?[0-9]{1,9}", start) else 1


def _text_of(node: LexborNode | None) -> str | None:
    return None if node is None else node.text()


def _meta(page: LexborHTMLParser, name: str) -> str | None:
    node = page.css_first(f'meta[name="{name}" i], meta[property="{name}" i]')
    return None if node is None else node.attributes.get("content")


def _canonical(page: LexborHTMLParser) -> str | None:
    node = page.css_first('link[rel~="canonical" i]')
    url = _meta(page, "og:url") if node is None else node.attributes.get("href")
    return url if url and url.strip().lower().startswith(("http://", "https://")) else None
