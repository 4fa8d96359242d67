"""The query string: words to search for and fields to filter by, in one line.

`error AND service:api AND year:[2020 TO 2024]`, as Lucene and Kibana write it; `docs/filters.md`
describes it. Fields become a filter for the engine. Words become the text of the search, and, where
the query says more of them than that, a test that every hit must pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from luqum import tree  # type: ignore[import-untyped]
from luqum.exceptions import ParseSyntaxError  # type: ignore[import-untyped]
from luqum.parser import parser  # type: ignore[import-untyped]

from quire.errors import InvalidInput, LimitExceeded
from quire.points import fields
from quire.retrieval.kql_tokens import FIELD, Lexer, Token, invalid, read_tokens
from quire.retrieval.words import Every, Some, Text, TextTest, Without, phrase_test, word_test
from quire.vectors.bm25 import Bm25
from quire.vectors.port import Condition, NoneOf

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WILDCARD = re.compile(r"(?:[^\\*?]|\\.)*[*?]", re.DOTALL)
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,18}\.\d{1,18}", re.ASCII)
_ALL = "*"
_EXPECTED = {
    "COLUMN": "a value",
    "LESSTHAN": "a number or a time",
    "GREATERTHAN": "a number or a time",
    "LBRACKET": "a range such as [2020 TO 2024]",
}
_BEFORE_OPERAND = frozenset({"AND_OP", "OR_OP", "NOT", "PLUS", "MINUS", "LPAREN"})


@dataclass(frozen=True, slots=True)
class KqlQuery:
    """What a query string asks for.

    A hit fulfils `filter` in the engine, and `accepts` its text.
    """

    text: str | None
    """What to search for, in the order written; None when there are only fields, or exclusions."""
    filter: Condition | None
    test: TextTest | None
    """What the text of every hit must hold; None when words only rank."""
    bm25: Bm25 = field(repr=False, compare=False)

    def accepts(self, text: str) -> bool:
        """Whether a text holds the words that it must, and none that it must not."""
        return self.test is None or self.test.holds(Text(text, self.bm25))


def parse_kql(query: str, bm25: Bm25 | None = None) -> KqlQuery:
    """What the query string means; `InvalidInput` says what cannot be, and where."""
    if not isinstance(query, str):
        raise InvalidInput(f"The query is a string, not {fields.kind(query)}.", field=FIELD)
    tokens = read_tokens(query)
    if not tokens:
        raise InvalidInput("The query is empty.", field=FIELD, recovery="Ask for * to mean all.")
    lexer = Lexer(tokens)
    try:
        root = parser.parse(lexer=lexer)
    except ParseSyntaxError:
        raise _unexpected(lexer, len(query)) from None
    bm25 = bm25 or Bm25()
    reading = _Reading(bm25)
    meaning = reading.whole(root)
    condition = meaning.condition
    if condition is not None:
        fields.checked_depth(condition, FIELD)
    return KqlQuery(" ".join(reading.text) or None, condition, meaning.test, bm25)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What must hold: of the point, and of its text. Neither: everything is meant."""

    condition: Condition | None = None
    test: TextTest | None = None


class _Reading:
    """Goes through luqum's tree, gathering the words to search for."""

    def __init__(self, bm25: Bm25) -> None:
        self._bm25 = bm25
        self._conditions = 0
        self._negations = 0
        self.text: list[str] = []

    def whole(self, node: tree.Item) -> _Meaning:
        """The query: its bare words rank, everything else must hold."""
        while isinstance(node, tree.Group):
            node = node.expr
        operands = node.operands if isinstance(node, tree.UnknownOperation) else [node]
        meanings = []
        for operand in operands:
            if isinstance(operand, tree.Word) and operand.value != _ALL:
                self.text.append(_plain(operand))
            else:
                meanings.append(self._read(operand))
        return _every(meanings)

    def _read(self, node: tree.Item) -> _Meaning:
        match node:
            case tree.Group() | tree.Plus():
                return self._read(node.children[0])
            case tree.AndOperation():
                return _every([self._read(operand) for operand in node.operands])
            case tree.OrOperation():
                return _some([self._read(operand) for operand in node.operands], node)
            case tree.UnknownOperation():
                return _side_by_side(node, self._read)
            case tree.Not() | tree.Prohibit():
                self._negations += 1
                meaning = self._read(node.a)
                self._negations -= 1
                return _without(meaning, node)
            case tree.SearchField(name="*", expr=tree.Word(value="*")):
                return _Meaning()
            case tree.SearchField(name="text"):
                return self._read(_ungrouped(node.expr))
            case tree.SearchField():
                name = _ESCAPED.sub(r"\1", node.name) if node.name[0] != '"' else node.name
                return self._field(name, node.expr)
            case tree.Word(value="*"):
                return _Meaning()
            case tree.Word() | tree.Phrase():
                return _Meaning(test=self._words(node))
            case _:
                raise invalid("a field's name is missing before the range", node.pos)

    def _words(self, node: tree.Term) -> TextTest:
        plain = _plain(node)
        quoted = isinstance(node, tree.Phrase)
        test = phrase_test(plain) if quoted else word_test(plain, self._bm25)
        if test is None:
            raise invalid(f"{node.value} holds no letter or digit to look for", node.pos)
        if self._negations % 2 == 0:
            self.text.append(plain)
        return test

    def _field(self, name: str, node: tree.Item) -> _Meaning:
        match node:
            case tree.FieldGroup() | tree.Group() | tree.Plus():
                return self._field(name, node.children[0])
            case tree.AndOperation():
                return _every([self._field(name, operand) for operand in node.operands])
            case tree.OrOperation():
                return _some([self._field(name, operand) for operand in node.operands], node)
            case tree.UnknownOperation():
                return _side_by_side(node, lambda operand: self._field(name, operand))
            case tree.Not() | tree.Prohibit():
                return _without(self._field(name, node.a), node)
            case _:
                return _Meaning(self._comparison(name, node))

    def _comparison(self, name: str, node: tree.Item) -> Condition:
        self._conditions += 1
        if self._conditions > fields.MAX_CONDITIONS:
            raise LimitExceeded(
                f"The query has more than {fields.MAX_CONDITIONS} conditions on fields.",
                field=FIELD,
                limit=fields.MAX_CONDITIONS,
                position=node.pos + 1,
                recovery="Give fewer values, or the same as a JSON filter with a list.",
            )
        try:
            match node:
                case tree.Word(value="*"):
                    return NoneOf([fields.missing(name, FIELD)])
                case tree.Word() | tree.Phrase():
                    return fields.equals(name, _readings(node), FIELD)
                case tree.Range() | tree.From() | tree.To():
                    bounds = _bounds(node)
                    if not bounds:
                        return NoneOf([fields.missing(name, FIELD)])
                    return fields.within(name, bounds, FIELD)
        except LimitExceeded:
            raise
        except InvalidInput as error:
            raise _placed(error, node.pos) from None
        raise invalid("a value that holds a colon belongs in quotation marks", node.pos)


def _side_by_side(node: tree.UnknownOperation, read: Callable[[Any], _Meaning]) -> _Meaning:
    """Words or values next to each other: any will do; whatever else stands there must hold."""
    meanings = [(isinstance(operand, tree.Word), read(operand)) for operand in node.operands]
    every = [meaning for is_word, meaning in meanings if not is_word]
    some = [meaning for is_word, meaning in meanings if is_word]
    return _every([*every, _some(some, node)] if some else every)


def _every(meanings: Sequence[_Meaning]) -> _Meaning:
    conditions = [m.condition for m in meanings if m.condition is not None]
    tests = [m.test for m in meanings if m.test is not None]
    return _Meaning(
        fields.all_of(conditions) if conditions else None,
        (tests[0] if len(tests) == 1 else Every(tests)) if tests else None,
    )


def _some(meanings: Sequence[_Meaning], node: tree.Item) -> _Meaning:
    conditions = [m.condition for m in meanings if m.condition is not None]
    tests = [m.test for m in meanings if m.test is not None]
    if any(m == _Meaning() for m in meanings):
        return _Meaning()
    if conditions and tests:
        raise invalid(
            "OR stands between words and fields, and an engine can only answer one or the other; "
            "join them by AND, or ask twice",
            node.pos,
        )
    if conditions:
        return _Meaning(fields.any_of(conditions))
    return _Meaning(test=tests[0] if len(tests) == 1 else Some(tests))


def _without(meaning: _Meaning, node: tree.Item) -> _Meaning:
    match meaning:
        case _Meaning(None, None):
            raise invalid("everything would be left out", node.pos)
        case _Meaning(None, test) if test is not None:
            return _Meaning(test=Without(test))
        case _Meaning(condition, None) if condition is not None:
            return _Meaning(NoneOf([condition]))
    raise invalid(
        "NOT stands before words and fields together; put one before each of them", node.pos
    )


def _ungrouped(node: tree.Item) -> tree.Item:
    return tree.Group(node.expr, pos=node.pos) if isinstance(node, tree.FieldGroup) else node


def _plain(node: tree.Term) -> str:
    """What is meant by a word or phrase: without quotation marks and backslashes."""
    text = cast(str, node.value)
    if isinstance(node, tree.Phrase):
        return _ESCAPED.sub(r"\1", text[1:-1])
    if not text.endswith("\\?"):
        text = text.rstrip("?") or text  # a question's, not a wildcard
    if _WILDCARD.match(text):
        raise invalid(
            "wildcards are not understood, except field:* for any value; write whole words, or "
            r"\* for the sign itself",
            node.pos,
        )
    return _ESCAPED.sub(r"\1", text)


def _readings(node: tree.Term) -> list[str | int | float | bool]:
    """All that a value may be: without quotation marks 500 is a number, and a string."""
    plain = _plain(node)
    number = None if isinstance(node, tree.Phrase) else _as_number(plain)
    if number is not None:
        return [plain, number]
    if not isinstance(node, tree.Phrase) and plain in ("true", "false"):
        return [plain, plain == "true"]
    return [plain]


def _bounds(node: tree.Item) -> dict[str, str | int | float]:
    """The bounds of a range, by their operators; * is none."""
    match node:
        case tree.From():
            ends = {"gte" if node.include else "gt": node.a}
        case tree.To():
            ends = {"lte" if node.include else "lt": node.a}
        case _:
            low = "gte" if node.include_low else "gt"
            high = "lte" if node.include_high else "lt"
            ends = {low: node.low, high: node.high}
    bounds: dict[str, str | int | float] = {}
    for operator, end in ends.items():
        if end.value != _ALL:
            plain = _plain(end)
            number = _as_number(plain)
            bounds[operator] = plain if number is None else number
    return bounds


def _as_number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else None


def _placed(error: InvalidInput, position: int) -> InvalidInput:
    """The error, with its place in the query."""
    return InvalidInput(
        f"{error.message.rstrip('.')} (at character {position + 1}).",
        field=FIELD,
        position=position + 1,
    )


def _unexpected(lexer: Lexer, end: int) -> InvalidInput:
    before = lexer.before.type if lexer.before else None
    if lexer.is_in_range:
        expected = _EXPECTED["LBRACKET"]
    elif before is None or before in _BEFORE_OPERAND:
        expected = 'a word, a "phrase", field:value or a group'
    else:
        expected = _EXPECTED.get(before, "AND, OR, another term or the end")
    if lexer.last is None:
        return invalid(f"it ends where {expected} is expected", end)
    return invalid(f"{_shown(lexer.last)} stands where {expected} is expected", lexer.last.lexpos)


def _shown(token: Token) -> str:
    return str(token.value)[:40]
