"""Query strings: what becomes a filter, what is searched for, what a hit must hold."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quire.errors import InvalidInput, LimitExceeded
from quire.points.filters import parse_filter
from quire.retrieval.kql import parse_kql
from quire.retrieval.kql_tokens import MAX_LENGTH, MAX_NESTING, MAX_TOKENS
from quire.vectors.bm25 import Bm25

BM25 = Bm25()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("service:api", {"service": "api"}),
        ("service : 'api'", {"service": "'api'"}),
        ('service:"api gateway"', {"service": "api gateway"}),
        ("service:api AND NOT level:debug", {"service": "api", "none": [{"level": "debug"}]}),
        ("service:api and not level:debug", {"service": "api", "none": [{"level": "debug"}]}),
        ("service:api && !level:debug", {"service": "api", "none": [{"level": "debug"}]}),
        ("+service:api -level:debug", {"service": "api", "none": [{"level": "debug"}]}),
        ("a:x OR b:y", {"any": [{"a": "x"}, {"b": "y"}]}),
        ("a:x || b:y AND c:z", {"any": [{"a": "x"}, {"b": "y", "c": "z"}]}),
        ("a:(x OR y)", {"any": [{"a": "x"}, {"a": "y"}]}),
        ("a:(x y -z)", {"all": [{"none": [{"a": "z"}]}, {"any": [{"a": "x"}, {"a": "y"}]}]}),
        ("a:(NOT x AND y)", {"all": [{"none": [{"a": "x"}]}, {"a": "y"}]}),
        ("status:500", {"status": ["500", 500]}),
        ('status:"500"', {"status": "500"}),
        ("status:-5", {"status": ["-5", -5]}),
        ("price:2.5", {"price": ["2.5", 2.5]}),
        ("ok:true", {"ok": ["true", True]}),
        ("version:1.2.3", {"version": "1.2.3"}),
        ("n:99999999999999999999", {"n": "99999999999999999999"}),
        ("year:[2020 TO 2024]", {"year": {"gte": 2020, "lte": 2024}}),
        ("year:{2020 to 2024]", {"year": {"gt": 2020, "lte": 2024}}),
        ("year:[-5 TO *]", {"year": {"gte": -5}}),
        ("year:[* TO *]", {"none": [{"year": None}]}),
        ("year >= 2020", {"year": {"gte": 2020}}),
        ("year<2020.5", {"year": {"lt": 2020.5}}),
        ("year:>-3", {"year": {"gt": -3}}),
        ("year:(>2020 <=2024)", {"all": [{"year": {"gt": 2020}}, {"year": {"lte": 2024}}]}),
        ("at:[2024-01-01 TO 2024-01-31]", {"at": {"gte": "2024-01-01", "lte": "2024-01-31"}}),
        ("at >= 2024-01-01T10:00:00.5Z", {"at": {"gte": "2024-01-01T10:00:00.5Z"}}),
        ("at < 2024-01-01T10:00:00+02:00", {"at": {"lt": "2024-01-01T08:00:00Z"}}),
        ("label:*", {"none": [{"label": None}]}),
        ("owner.name:Ann", {"owner.name": "Ann"}),
        ("rows[].n:x", {"rows[].n": "x"}),
        ('"my field":x', {'"my field"': "x"}),
        ("metadata.a:x", {"metadata.a": "x"}),
        (r"path:C\:\\logs", {"path": "C:\\logs"}),
        (r'path:"say \"hi\""', {"path": 'say "hi"'}),
        (r"name:\*", {"name": "*"}),
        ("*:*", None),
    ],
)  # fmt: skip
def test_fields_become_the_filter_that_json_would_be(query: str, wanted: Any) -> None:
    asked = parse_kql(query)

    assert asked.filter == parse_filter(wanted)
    assert (asked.text, asked.test) == (None, None)


@pytest.mark.parametrize(
    ("query", "text", "accepted", "refused"),
    [
        ("connection refused", "connection refused", ["anything"], []),
        ("error AND timeout", "error timeout", ["timeouts after ERRORS"], ["error", "timeout", ""]),
        ("salt and pepper", "salt pepper", ["pepper, salt"], ["salt"]),
        ("error OR timeout", "error timeout", ["errors", "a timeout"], ["terror"]),
        ("not error", None, ["fine"], ["an error"]),
        ("+error other", "error other", ["error"], ["other"]),
        ('"connection refused"', "connection refused",
         ["Connection -- REFUSED!"], ["connection was refused", "connections refused"]),
        ('-"not found" page', "page", ["found", "foundation"], ["404 Not found"]),
        ("error AND (disk memory)", "error disk memory", ["disk error", "memory error"], ["error"]),
        ("error AND (disk -full)", "error disk", ["disk error"], ["error", "error: disk full"]),
        ("NOT (a1 OR b1)", None, ["c1"], ["a1", "b1 c1"]),
        ("NOT (a1 AND NOT b1)", "b1", ["b1", "a1 b1", ""], ["a1"]),
        ("10.0.0.1 AND host", "10.0.0.1 host", ["host 10.0.0.1:80"], ["host 10.0.1.0"]),
        ("error AND the", "error the", ["the error"], ["error"]),
        ("text:error AND text:(disk OR cpu)", "error disk cpu", ["cpu error"], ["error", "cpu"]),
        ('"Straße" +日志', "Straße 日志", ["STRASSE 日志", "日志 straße"], ["straße"]),
        ("what is it?", "what is it", [""], []),
        ("error = 5 AND *", "error = 5", ["5"], ["error"]),
    ],
)  # fmt: skip
def test_words_are_searched_for_and_what_is_said_of_them_must_hold(
    query: str, text: str | None, accepted: list[str], refused: list[str]
) -> None:
    asked = parse_kql(query, BM25)

    assert (asked.text, asked.filter) == (text, None)
    assert [t for t in accepted + refused if asked.accepts(t)] == accepted


def test_words_and_fields_part_where_they_can() -> None:
    asked = parse_kql("disk error AND service:api (year:[2020 TO 2024] AND NOT debug)")

    wanted = {"service": "api", "year": {"gte": 2020, "lte": 2024}}
    assert asked.filter == parse_filter(wanted)
    assert asked.text == "disk error"
    assert asked.accepts("an error")
    assert not asked.accepts("disk")
    assert not asked.accepts("error: debug")


VALUES = ["a1", "b1", "c1"]
logic = st.recursive(
    st.sampled_from(VALUES),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["AND", "OR"]), inner, inner),
        st.tuples(st.just("NOT"), inner),
    ),
    max_leaves=6,
)
Logic = Any


def written(node: Logic) -> str:
    match node:
        case ("NOT", inner):
            return f"(NOT {written(inner)})"
        case (operator, left, right):
            return f"({written(left)} {operator} {written(right)})"
    return f"+{node}"


def true_of(node: Logic, words: set[str]) -> bool:
    match node:
        case ("NOT", inner):
            return not true_of(inner, words)
        case ("AND", left, right):
            return true_of(left, words) and true_of(right, words)
        case ("OR", left, right):
            return true_of(left, words) or true_of(right, words)
    return node in words


@settings(max_examples=60, deadline=None)
@given(node=logic)
@example(node=("NOT", ("OR", ("NOT", "a1"), "b1")))
def test_any_logic_of_words_is_true_of_a_text_when_it_is_true_of_its_words(node: Logic) -> None:
    asked = parse_kql(written(node).replace("NOT +", "NOT "), BM25)

    for size in range(len(VALUES) + 1):
        for words in itertools.combinations(VALUES, size):
            assert asked.accepts(" ".join(words)) is true_of(node, set(words))


@pytest.mark.parametrize(
    ("query", "position", "says"),
    [
        ("error OR service:api", 1, "OR stands between words and fields"),
        ("x AND (error OR service:api)", 8, "OR stands between words and fields"),
        ("a AND NOT (error service:api +b)", 7, "NOT stands before words and fields"),
        ("NOT *", 1, "everything"),
        ("404 not found", 5, "AND NOT"),
        ("err*", 1, "wildcards"),
        ("a:te?t", 3, "wildcards"),
        ("error~2", 6, "fuzzy"),
        ("error^2", 6, "boosts"),
        ('say "hello', 5, "not closed"),
        ("(a OR (b AND c)", 1, "( is not closed"),
        ("a:[1 TO 2", 3, "[ is not closed"),
        ("a OR b)", 7, ") closes nothing"),
        ("(a]", 3, "] closes nothing"),
        ("()", 2, "a word"),
        ("a AND", 6, "it ends where a word"),
        ("OR a", 1, "OR stands where a word"),
        ("a AND AND b", 7, "AND stands where a word"),
        ("a:", 3, "it ends where a value is expected"),
        (":a", 1, "a field's name is missing"),
        ("x AND >= 5", 7, "a field's name is missing"),
        ("a:1 > 5", 5, "a field's name is missing"),
        ("[1 TO 2]", 1, "a field's name is missing"),
        ("a:[1 2]", 6, "a range such as"),
        ("a:{b:c}", 5, "a range such as"),
        ("a:[x TO y]", 3, "neither a number nor a time"),
        ("a:>soon", 3, "neither a number nor a time"),
        ("_stage:x", 8, "Quire's own"),
        ("a:b:c", 3, "quotation marks"),
        ("url:http://x", 5, "quotation marks"),
        ("a - b", 3, "stands alone"),
        ("--verbose", 2, "follows another sign"),
        ("a AND =", 7, "no letter or digit"),
        ("end\\", 4, "backslash"),
        ("a \0", 3, "no character"),
        ("\ud800", 1, "no character"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_at_its_place(
    query: str, position: int, says: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_kql(query, BM25)

    assert says in refused.value.message
    assert f"at character {position})" in refused.value.message
    assert (refused.value.field, refused.value.details["position"]) == ("kql", position)


@pytest.mark.parametrize("query", ["", "  \n", None, 5])
def test_no_query_is_no_query(query: Any) -> None:
    with pytest.raises(InvalidInput, match=r"empty|a string"):
        parse_kql(query)


@pytest.mark.parametrize(
    "query",
    [
        "word " * 100_000,
        "a " * (MAX_TOKENS + 1),
        "(" * (MAX_NESTING + 1) + "a" + ")" * (MAX_NESTING + 1),
        " OR ".join(f"a:{n}" for n in range(101)),
        "NOT (" * 8 + "a:1 AND b:2" + " OR c:3)" * 8,
    ],
)
def test_a_query_too_large_is_refused_by_name_of_the_limit(query: str) -> None:
    with pytest.raises(LimitExceeded, match=r"the most is|more than|deeper than"):
        parse_kql(query, BM25)


def test_the_longest_queries_are_read() -> None:
    words = parse_kql(" ".join(["word"] * MAX_TOKENS), BM25)
    nested = parse_kql("(" * MAX_NESTING + "+a" + ")" * MAX_NESTING, BM25)

    assert words.text == " ".join(["word"] * MAX_TOKENS)
    assert nested.accepts("a")


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(
                [*'()[]{}:"<>=+-!*?~^\\ ', "AND ", " OR ", "not ", " TO ", "a", "b:", "5", "text:"]
            ),
            max_size=14,
        ).map("".join),
    )
)
def test_whatever_is_written_is_read_or_refused_and_nothing_else(query: str) -> None:
    try:
        asked = parse_kql(query[:MAX_LENGTH], BM25)
    except InvalidInput:
        return
    asked.accepts(query)
