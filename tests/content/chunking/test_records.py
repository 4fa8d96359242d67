"""JSON, JSON Lines and CSV are cut by their structure."""

from __future__ import annotations

import csv
import json
from itertools import pairwise

import pytest

from quire.content.models import TextKind
from tests.content.chunking.cutting import cut, texts

SENTENCE = "It was so long that nobody read it. "


def records(number: int) -> list[dict[str, object]]:
    return [{"id": i, "name": f"Name, {i}", "tags": ["a", "b]"]} for i in range(number)]


@pytest.mark.parametrize("indent", [None, 2])
def test_records_of_a_list_are_packed_whole(indent: int | None) -> None:
    text = json.dumps(records(200), indent=indent)

    packed = texts(TextKind.JSON, text, 400)

    found = [json.loads(f"[{made.strip().strip('[],')}]") for made in packed[1:-1]]
    assert all(len(chunk) > 1 for chunk in found)
    assert all(record in records(200) for chunk in found for record in chunk)


def test_a_large_record_is_cut_between_its_members_and_says_where_it_is() -> None:
    large = {f"field{i}": f"value {i}" for i in range(40)}
    text = json.dumps({"items": [{"id": 1}, {"id": 2}, large, {"id": 3}]})

    cuts = cut(TextKind.JSON, text, 200)

    inside = [made for made in cuts if made.context == "items[2]"]
    assert len(inside) >= 3
    assert all(made.text.lstrip().startswith('"field') for made in inside)
    assert inside[-1].text.rstrip().endswith("},")
    assert cuts[-1].context == "items"
    assert cuts[-1].text == '{"id": 3}]}'


def test_a_long_string_is_cut_at_its_sentences() -> None:
    text = json.dumps({"items": [{"id": 7, "body": SENTENCE * 30, "by": "me"}]})

    cuts = cut(TextKind.JSON, text, 200)

    assert cuts[0].context is None
    assert {made.context for made in cuts[1:-1]} == {"items[0].body"}
    assert all(made.text.endswith("read it. ") for made in cuts[:-2])


@pytest.mark.parametrize("escape", ["\\u00e9", "\\ud83d\\ude00", "\\n", '\\"', "\\\\"])
def test_no_cut_goes_through_an_escape(escape: str) -> None:
    for shift in range(12):
        text = '["' + "x" * shift + escape * 100 + '"]'
        for made in texts(TextKind.JSON, text, 40)[1:-1]:
            assert made.replace("x", "").removeprefix('["').replace(escape, "") == ""


def test_what_is_in_strings_is_no_structure() -> None:
    tricky = ['},{"', "[,]", 'quote " and, comma', "\\", "back\\\\slash\\"]
    text = json.dumps([{"a": value, "b": [value]} for value in tricky * 20])

    for made in texts(TextKind.JSON, text, 120):
        for record in json.loads(f"[{made.strip().strip('[],')}]"):
            assert record["b"] == [record["a"]]


def test_json_nested_without_end_is_cut_without_recursion() -> None:
    text = "[" * 100_000 + "]" * 100_000

    cuts = cut(TextKind.JSON, text, 1_000)

    assert "".join(made.text for made in cuts) == text
    assert max(len(made.context or "") for made in cuts) <= 120
    assert max(len(json.dumps(made.resume.state)) for made in cuts) < 500


def test_what_is_not_json_is_cut_as_text_from_there() -> None:
    sound = json.dumps(records(50))[:-1] + ", "
    prose = "This, however, was never JSON, was it? " * 60

    cuts = cut(TextKind.JSON, sound + prose, 200)

    assert "".join(made.text for made in cuts) == sound + prose
    assert cuts[0].text.endswith("},") or cuts[0].text.endswith("}, ")
    assert all(made.text.endswith("it? ") for made in cuts[-5:])


def test_lines_are_packed_and_a_long_one_is_cut_as_json() -> None:
    lines = [json.dumps(record) for record in records(30)]
    lines[15] = json.dumps({"id": 15, "body": SENTENCE * 20})
    text = "\n".join(lines) + "\n"

    cuts = cut(TextKind.LINES, text, 250)

    of_the_long_one = [made for made in cuts if "long" in made.text]
    assert {made.context for made in of_the_long_one[1:]} == {"body"}
    for made in cuts:
        if made not in of_the_long_one:
            assert made.context is None
            assert all(json.loads(line) for line in made.text.splitlines())


def test_a_broken_line_spoils_itself_only() -> None:
    lines = [json.dumps(record) for record in records(30)]
    lines[10] = '{"id": "never closed, [[['
    lines[20] = "]]]} not, even, close"

    cuts = cut(TextKind.LINES, "\n".join(lines), 200)

    assert all(made.text.endswith("\n") for made in cuts[:-1])
    assert all(made.context is None for made in cuts)


def test_rows_are_packed_under_their_header() -> None:
    header = "id,name,remark"
    rows = [f'{i},"Name, ""{i}""","two\nlines"' for i in range(100)]
    text = "\r\n".join([header, *rows])

    cuts = cut(TextKind.CSV, text, 300)

    assert cuts[0].context is None
    assert cuts[0].text.startswith(header)
    assert {made.context for made in cuts[1:]} == {header}
    for made in cuts:
        assert all(len(row) == 3 for row in csv.reader(made.text.splitlines(keepends=True)))


def test_ragged_rows_and_stray_quotes_do_no_harm() -> None:
    rows = ["a,b", "1", "1,2,3,4", '5" disk,x', "", 'y,6" disk'] * 50

    cuts = texts(TextKind.CSV, "\n".join(rows) + "\n", 60)

    assert all(made.endswith("\n") for made in cuts)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_long_row_is_cut_between_its_fields(delimiter: str) -> None:
    header = delimiter.join(["first", "second", "third"])
    long = delimiter.join(f"field {i}" for i in range(60))
    text = f"{header}\n1{delimiter}2{delimiter}3\n{long}\n4{delimiter}5{delimiter}6\n"

    cuts = cut(TextKind.CSV, text, 100)

    inside = [made for made in cuts if made.text.startswith("field")][:-1]
    assert len(inside) >= 3
    assert all(made.text.endswith(delimiter) for made in inside)
    assert cuts[-1].text == f"4{delimiter}5{delimiter}6\n"


def test_a_header_over_a_third_of_the_window_is_cut_short_in_the_context() -> None:
    header = ",".join(f"column{i}" for i in range(100))
    text = header + "\n" + ",".join("1" * 100) + "\n"

    cuts = cut(TextKind.CSV, text * 5, 1_000, window=90)

    contexts = {made.context for made in cuts if made.context}
    assert len(contexts) == 1
    (context,) = contexts
    assert context.endswith("…")
    assert header.startswith(context[:-1])
    assert max(made.tokens for made in cuts) <= 90


def test_overlap_is_by_whole_records() -> None:
    text = "id,name\n" + "".join(f"{i:03},name {i:03}\n" for i in range(100))

    cuts = cut(TextKind.CSV, text, 100, overlap=30)

    for before, after in pairwise(cuts):
        repeated = text[after.start : before.end]
        assert repeated.count("\n") == 2
        assert repeated.startswith(after.text[:13])
