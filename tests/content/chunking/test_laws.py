"""What holds for every text, kind and setting."""

from __future__ import annotations

import csv
import io
import json
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from quire.content.chunking import stretches
from quire.content.models import ChunkSettings, SizeUnit, TextKind
from tests.content.chunking.cutting import count_words, cut, require_lawful, through_json

AWKWARD = [
    *("a", "hello ", "x" * 30, "0.5", "true", "null"),
    *(" ", " " * 40, "\n", "\r\n", "\r", "\n\n\n", "\t", "\u2028", "\u0085", "\ufeff", "\x00"),
    *('"', '""', ",", ";", "{", "}", "[", "]", ":", '"key": ', '{"a": [', "\\", '\\"'),
    *("\\u00e9", "\\ud83d\\ude00", "\\n", "```\n", "~~~~\n", "# h\n", "- ", "| a | b |\n", "> "),
    *("e\u0301\u0323", "👨‍👩‍👧", "🇩🇪", "שלום", "مرحبا", "\u202e", "漢字", "한글", "ภาษาไทย", "𝔘𝔫𝔦"),
]
soup = st.lists(st.sampled_from(AWKWARD), max_size=120).map("".join)
any_text = soup | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | any_text.map(lambda text: text[:80]),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from(["id", "body", "a key", 'q"', "é", ""]), inner)
    ),
    max_leaves=25,
)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    indent = draw(st.sampled_from([None, 2]))
    return json.dumps(draw(values), indent=indent, ensure_ascii=draw(st.booleans()))


@st.composite
def csv_texts(draw: st.DrawFn) -> str:
    field = st.sampled_from(["", "a", "two words", 'a "quote"', "two\nlines", "a,b;c", "漢字"])
    rows = draw(st.lists(st.lists(field, max_size=6), max_size=20))
    target = io.StringIO()
    csv.writer(target, delimiter=draw(st.sampled_from(",;\t"))).writerows(rows)
    return target.getvalue()


lines = st.lists(json_texts().map(lambda text: text.replace("\n", "")), max_size=8).map("\n".join)
of_kind = {TextKind.JSON: json_texts(), TextKind.LINES: lines, TextKind.CSV: csv_texts()}


@st.composite
def chunk_settings(draw: st.DrawFn, window: int) -> ChunkSettings:
    unit = draw(st.sampled_from(SizeUnit))
    size = draw(st.integers(1, window if unit is SizeUnit.TOKENS else 150))
    return ChunkSettings(size, draw(st.just(0) | st.integers(0, size - 1)), unit)


@pytest.mark.parametrize("kind", TextKind)
@examples(max_examples=60, deadline=None)
@given(data=st.data())
def test_cuts_are_exact_complete_small_and_repeatable(kind: TextKind, data: st.DataObject) -> None:
    text = data.draw(any_text | of_kind.get(kind, any_text))
    window = data.draw(st.sampled_from([1, 3, 20, 200]))
    settings = data.draw(chunk_settings(window))

    def cut_from(**how: object) -> list[stretches.Cut]:
        return cut(
            kind,
            text,
            settings.size,
            overlap=settings.overlap,
            unit=settings.unit,
            window=window,
            **how,  # type: ignore[arg-type]
        )

    # Stretches so short that even these texts have several.
    with mock.patch.object(stretches, "STRETCH_CHARS", 50):
        cuts = cut_from()
        require_lawful(cuts, text, settings, window, count_words)
        assert cut_from(piece=data.draw(st.integers(1, 90))) == cuts
        if cuts:
            done = data.draw(st.integers(1, len(cuts)))
            resume = through_json(cuts[done - 1].resume)
            assert cut_from(resume=resume) == cuts[done:]


@pytest.mark.parametrize("kind", TextKind)
def test_an_empty_text_has_no_chunks(kind: TextKind) -> None:
    assert cut(kind, "", 100) == []


@pytest.mark.parametrize("kind", TextKind)
@pytest.mark.parametrize(
    "text", [" " * 5_000, "\n" * 5_000, "\r\n" * 2_500, "x" * 5_000, "漢" * 5_000, '"' * 5_000]
)
def test_monotonous_texts_are_cut_too(kind: TextKind, text: str) -> None:
    settings = ChunkSettings(64, 0, SizeUnit.TOKENS)

    cuts = cut(kind, text, 64, unit=SizeUnit.TOKENS, window=64)

    require_lawful(cuts, text, settings, 64, count_words)


def test_a_character_over_the_window_is_a_chunk_of_its_own() -> None:
    cuts = cut(TextKind.PLAIN, "abc", 3, window=5, count=lambda texts: [9 * len(t) for t in texts])

    assert [made.text for made in cuts] == ["a", "b", "c"]
