from __future__ import annotations

from itertools import pairwise

from quire.content.models import SizeUnit, TextKind
from tests.content.chunking.cutting import cut, texts

SENTENCES = "One sentence stands here. Another follows it. And a third one ends it."


def test_text_is_cut_at_paragraphs_where_they_fit() -> None:
    text = f"{SENTENCES}\n\n{SENTENCES}\n\n{SENTENCES}"

    assert texts(TextKind.PLAIN, text, 80) == [f"{SENTENCES}\n\n", f"{SENTENCES}\n\n", SENTENCES]


def test_a_paragraph_that_is_too_long_is_cut_at_sentences() -> None:
    assert texts(TextKind.PLAIN, SENTENCES, 50) == [
        "One sentence stands here. Another follows it. ",
        "And a third one ends it.",
    ]


def test_grapheme_clusters_and_line_ends_of_two_characters_stay_whole() -> None:
    family = "👨‍👩‍👧"

    assert texts(TextKind.PLAIN, family * 3, 7) == [family] * 3
    assert texts(TextKind.PLAIN, "abc\r\ndef", 4)[0] == "abc"


def test_white_space_on_its_own_goes_to_a_neighbour_with_room() -> None:
    cuts = texts(TextKind.PLAIN, " \n\n   \n     hello \r\n\r\n    \n       there", 24)

    assert len(cuts) > 1
    assert all(text.strip() for text in cuts)


def test_overlap_repeats_the_end_of_the_chunk_before() -> None:
    cuts = cut(TextKind.PLAIN, "aa bb cc dd ee ff gg hh", 9, overlap=4)

    for before, after in pairwise(cuts):
        assert before.start < after.start < before.end < after.end


def test_sizes_in_tokens_fill_the_chunks() -> None:
    cuts = cut(TextKind.PLAIN, "word " * 1_000, 50, unit=SizeUnit.TOKENS)

    assert {made.tokens for made in cuts} == {50}


def test_the_window_holds_whatever_the_size_in_characters_is() -> None:
    cuts = cut(TextKind.PLAIN, "a, b; c. " * 1_000, 5_000, window=60)

    assert max(made.tokens for made in cuts) <= 60
    # They are filled, not cut into halves of what is too large.
    assert len(cuts) <= 6_000 / 50


def test_markdown_is_cut_at_headings_and_keeps_fenced_code_together() -> None:
    code = "```python\ndef f():\n\n    return 1\n\n\nprint(f())\n```\n"
    text = f"# First\n\n{SENTENCES}\n\n# Second\n\nSee:\n\n{code}\n# Third\n\n{SENTENCES}\n"

    cuts = texts(TextKind.MARKDOWN, text, 90)

    assert [made.split("\n")[0] for made in cuts] == ["# First", "# Second", "# Third"]
    assert code in cuts[1]


def test_markdown_far_into_a_long_text_is_still_read_from_outside_of_code() -> None:
    section = f"# Title\n\n{SENTENCES}\n\n```\n# not a title\n\n# nor this\n```\n\n"

    cuts = texts(TextKind.MARKDOWN, section * 2_000, 170)

    assert set(cuts) == {section}


def test_code_longer_than_a_stretch_does_not_swap_code_and_text() -> None:
    code = "```\n" + "# a comment\nstatement()\n\n" * 5_000 + "```\n"
    section = f"# Title\n\n{SENTENCES}\n\n```\n# no title\n\n# nor this\n```\n\n"

    cuts = texts(TextKind.MARKDOWN, code + section * 50, 170)

    assert cuts[-50:] == [section] * 50
