"""The frontier forgets nothing between portions, and never grows without bound."""

from __future__ import annotations

from quire.crawling.frontier import FAILURES_TOLD, ROBOTS_KEPT, WAITING_PER_PAGE, Frontier
from quire.crawling.robots import Rule, Rules


def test_an_address_waits_once() -> None:
    frontier = Frontier(max_pages=10)
    assert frontier.add("https://e.example/a", 1)
    assert not frontier.add("https://e.example/a", 2)
    assert [step.depth for step in frontier.waiting] == [1]
    frontier.waiting.popleft()
    assert not frontier.add("https://e.example/a", 1)


def test_the_same_words_are_known_again() -> None:
    frontier = Frontier(max_pages=10)
    assert not frontier.note_content(b"text")
    assert frontier.note_content(b"text")


def test_it_survives_as_bytes() -> None:
    frontier = Frontier(max_pages=10)
    frontier.root = "https://e.example/"
    frontier.add("https://e.example/a", 1)
    frontier.note_content(b"text")
    frontier.sitemaps.append("https://e.example/sitemap.xml")
    frontier.note_robots("https://e.example", Rules((Rule("/a", False),), 1.5, ("/s.xml",)))
    frontier.note_failure({"url": "https://e.example/b", "error": {"code": "fetch_failed"}})
    frontier.counts.pages = 3
    frontier.ingest_jobs.append("job")
    assert Frontier.loaded(frontier.dumped()).dumped() == frontier.dumped()
    again = Frontier.loaded(frontier.dumped())
    assert again.waiting == frontier.waiting
    assert not again.robots["https://e.example"].allow("/a/b")


def test_it_is_bounded_by_the_pages_that_there_may_be() -> None:
    frontier = Frontier(max_pages=5)
    for n in range(1_000):
        frontier.add(f"https://e.example/{n}", 1)
        frontier.note_robots(f"https://{n}.example", Rules())
        frontier.note_failure({"url": str(n)})
    assert len(frontier.waiting) == 5 * WAITING_PER_PAGE
    assert frontier.counts.left_out == 1_000 - 5 * WAITING_PER_PAGE
    assert len(frontier.robots) == ROBOTS_KEPT
    assert len(frontier.failures) == FAILURES_TOLD
    assert frontier.counts.failed == 1_000
