"""How requests are spaced: bounded, halved, recovered, and never before their time."""

from __future__ import annotations

import asyncio

import pytest

from quire.embedding import pace
from quire.embedding.pace import Pace, pause_before, seconds_asked
from quire.embedding.port import Lane


async def test_a_limited_server_is_asked_half_as_much_until_it_has_recovered() -> None:
    pacing = Pace(8)
    # Told together, it counts once.
    pacing.slow_down(0.01)
    pacing.slow_down(0.02)
    assert pacing.limit == 4
    await asyncio.sleep(0.03)
    pacing.slow_down(0.0)
    assert pacing.limit == 2
    for _ in range(2):
        pacing.went_well()
    assert pacing.limit in (2, 3)
    for _ in range(60):
        pacing.went_well()
    assert pacing.limit == 8


async def test_a_place_is_free_again_when_its_holder_is_cancelled() -> None:
    pacing = Pace(1)
    far = asyncio.get_running_loop().time() + 10

    async def hold() -> None:
        async with pacing.turn(Lane.BULK, far):
            await asyncio.sleep(10)

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiter = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiter.cancel()
    holder.cancel()
    await asyncio.gather(holder, waiter, return_exceptions=True)
    async with asyncio.timeout(1), pacing.turn(Lane.BULK, far):
        pass


def test_pauses_grow_are_bounded_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.25)
    assert 0.125 <= pause_before(1) <= 0.25
    assert 1 <= pause_before(4) <= 2
    assert 10 <= pause_before(10_000) <= 20
    assert len({pause_before(5) for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3), ("0.5", 0.5), ("-4", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
     ("tomorrow", None), ("", None), ("nan", None), ("inf", None)],
)  # fmt: skip
def test_what_a_server_asks_for_is_understood_or_left(
    header: str | None, seconds: float | None
) -> None:
    assert seconds_asked(header) == seconds
