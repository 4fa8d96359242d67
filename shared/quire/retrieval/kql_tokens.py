"""The tokens of a query string, in Lucene's spelling and in Kibana's, for luqum's grammar.

luqum's own lexer knows Lucene's spelling alone. This one gives its grammar the same tokens for
`and`, `or` and `not` in any case, `&&`, `||`, `!`, `status >= 500`, negative numbers and times; and
it refuses what the grammar has and Quire cannot answer.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from luqum.head_tail import TokenValue  # type: ignore[import-untyped]
from luqum.tree import Phrase, Word  # type: ignore[import-untyped]

from quire.errors import InvalidInput, LimitExceeded

MAX_LENGTH = 10_000
MAX_TOKENS = 1_000
MAX_NESTING = 10
FIELD = "kql"

_OPERATORS = {
    "AND": "AND_OP",
    "&&": "AND_OP",
    "OR": "OR_OP",
    "||": "OR_OP",
    "NOT": "NOT",
}
_PUNCTUATION = {
    "(": "LPAREN",
    ")": "RPAREN",
    "[": "LBRACKET",
    "{": "LBRACKET",
    "]": "RBRACKET",
    "}": "RBRACKET",
    ":": "COLUMN",
    "<": "LESSTHAN",
    "<=": "LESSTHAN",
    ">": "GREATERTHAN",
    ">=": "GREATERTHAN",
    "+": "PLUS",
    "-": "MINUS",
    "!": "MINUS",
}
_CLOSED_BY = {"(": ")", "[": "]}", "{": "]}"}
_COMPARISONS = {"LESSTHAN", "GREATERTHAN"}
_SIGNS = {"NOT", "MINUS", "PLUS"}
_ENDS = {"TERM", "PHRASE", "RPAREN", "RBRACKET"}
_BEFORE_VALUE = {"COLUMN", "LBRACKET", "TO", *_COMPARISONS}

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<phrase>"(?:[^"\\]|\\.)*")
    | (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.]*(?:Z|[+-]\d\d:\d\d)?(?=[\s)\]}]|$))
    | (?P<punctuation>[<>]=?|[-+!](?=\S)|[()\[\]{}:])
    | (?P<word>(?:[^\s:()\[\]{}<>"\\^~+!-]|\\.)(?:[^\s:()\[\]{}<>"\\^~]|\\.|\[\d*\])*)
    """,
    re.VERBOSE | re.DOTALL,
)
_NEGATIVE = re.compile(r"(?P<number>-\d[\d.]*)(?=[\s)\]}]|$)")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_REFUSED = {
    '"': "a quotation mark is not closed",
    "~": "~ (fuzzy words, distances) is not understood",
    "^": "^ (boosts) is not understood",
    "\\": "a backslash stands before nothing",
    "-": "- stands alone; write it directly before what to leave out",
    "+": "+ stands alone; write it directly before what is required",
    "!": "! stands alone; write it directly before what to leave out",
}


class Token:
    """What luqum's grammar reads: a type, and a value that knows its place."""

    lineno = 1

    def __init__(self, type_: str, text: str, position: int) -> None:
        wrap = {"TERM": Word, "PHRASE": Phrase}.get(type_, TokenValue)
        self.type = type_
        self.lexpos = position
        self.value = wrap(text)
        self.value.pos = position
        self.value.size = len(text)


class Lexer:
    """Gives luqum's parser one token after the other, and remembers the last two."""

    def __init__(self, tokens: list[Token]) -> None:
        self._rest = iter(tokens)
        self.before: Token | None = None
        self.last: Token | None = None
        self.is_in_range = False

    def token(self) -> Token | None:
        """The next token; None at the end."""
        self.before, self.last = self.last, next(self._rest, None)
        if self.before is not None and self.before.type in ("LBRACKET", "RBRACKET"):
            self.is_in_range = self.before.type == "LBRACKET"
        return self.last


def read_tokens(text: str) -> list[Token]:
    """All tokens of a query, or the first reason why it cannot be read."""
    if len(text) > MAX_LENGTH:
        raise LimitExceeded(
            f"The query has {len(text):,} characters; the most is {MAX_LENGTH:,}.",
            field=FIELD,
            limit=MAX_LENGTH,
            recovery="Ask with the words that matter.",
        )
    if unusable := _UNUSABLE.search(text):
        raise invalid(f"{unusable.group()!a} is no character of a text", unusable.start())
    reader = _Reader()
    position = 0
    while position < len(text):
        found = _NEGATIVE.match(text, position) if reader.expects_value else None
        found = found or _TOKEN.match(text, position)
        if found is None:
            reason = _REFUSED.get(text[position], f"{text[position]!a} is not expected here")
            raise invalid(reason, position)
        position = reader.take(found.lastgroup or "", found.group(), position)
    if reader.opened:
        raise invalid(f"{reader.opened[-1].bracket} is not closed", reader.opened[-1].position)
    return reader.tokens


class _Opened(NamedTuple):
    bracket: str
    position: int
    of_field: bool
    """Within `field:( )`, where comparisons need no name."""


class _Reader:
    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.opened: list[_Opened] = []

    @property
    def expects_value(self) -> bool:
        return bool(self.tokens) and self.tokens[-1].type in _BEFORE_VALUE

    @property
    def _is_of_field(self) -> bool:
        return bool(self.opened) and self.opened[-1].of_field

    def take(self, kind: str, text: str, position: int) -> int:
        """Take one token in; where the next begins."""
        if kind == "punctuation":
            self._punctuation(text, position)
        elif kind == "phrase":
            self._add("PHRASE", text, position)
        elif kind == "word":
            self._add(self._word(text, position), text, position)
        elif kind != "space":
            self._add("TERM", text, position)
        return position + len(text)

    def _word(self, text: str, position: int) -> str:
        before = self.tokens[-1].type if self.tokens else None
        if self.opened and self.opened[-1].bracket != "(":
            return "TO" if text.upper() == "TO" else "TERM"
        operator = _OPERATORS.get(text.upper(), "TERM")
        if operator == "NOT" and text != "NOT" and before in _ENDS:
            # Kibana refuses it as well; as an operator it would turn "404 not found" around.
            raise invalid(
                f'"{text}" between words can mean two things: write AND NOT to leave out what '
                'follows, or put the words in quotation marks ("404 not found")',
                position,
            )
        return operator

    def _punctuation(self, text: str, position: int) -> None:
        kind = _PUNCTUATION[text]
        if kind in ("LPAREN", "LBRACKET"):
            of_field = self.expects_value or self._is_of_field
            self.opened.append(_Opened(text, position, of_field))
            if len(self.opened) > MAX_NESTING:
                raise LimitExceeded(
                    f"The query nests deeper than {MAX_NESTING} brackets.",
                    field=FIELD,
                    limit=MAX_NESTING,
                    position=position + 1,
                    recovery="Write it flatter.",
                )
        elif kind in ("RPAREN", "RBRACKET"):
            if not self.opened or text not in _CLOSED_BY[self.opened.pop().bracket]:
                raise invalid(f"{text} closes nothing", position)
        elif kind == "COLUMN":
            self._name(text, position)
        elif kind in _COMPARISONS and not (self.expects_value or self._is_of_field):
            self._name(text, position)
            self._add("COLUMN", ":", position)
        self._add(kind, text, position)

    def _name(self, text: str, position: int) -> None:
        """What stands before a colon or a comparison is a field's name, though it be quoted."""
        before = self.tokens[-1] if self.tokens else None
        is_value = len(self.tokens) > 1 and self.tokens[-2].type in _BEFORE_VALUE
        if before is None or before.type not in ("TERM", "PHRASE") or (is_value and text != ":"):
            raise invalid(f"a field's name is missing before {text}", position)
        if before.type == "PHRASE":
            self.tokens[-1] = Token("TERM", str(before.value), before.lexpos)

    def _add(self, kind: str, text: str, position: int) -> None:
        if kind in _SIGNS and self.tokens and self.tokens[-1].type in _SIGNS:
            raise invalid(f"{text} follows another sign of its kind; one is enough", position)
        self.tokens.append(Token(kind, text, position))
        if len(self.tokens) > MAX_TOKENS:
            raise LimitExceeded(
                f"The query has more than {MAX_TOKENS:,} words and operators.",
                field=FIELD,
                limit=MAX_TOKENS,
                recovery="Ask with the words that matter.",
            )


def invalid(reason: str, position: int) -> InvalidInput:
    """The error of a query that cannot be read, and where."""
    return InvalidInput(
        f"The query cannot be read: {reason} (at character {position + 1}).",
        field=FIELD,
        position=position + 1,
    )
