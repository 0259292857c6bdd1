"""The watchdog with a clock of the test's own; a real hang is in the integration tests."""

import logging

import pytest

from clipsearch.watchdog import Watchdog, stacks


class Lanes:
    """Two lanes whose batches began when the test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.began: dict[str, float | None] = {"text": None, "image": None}
        self.reports: list[bool] = []
        self.watchdog = Watchdog(
            {name: lambda name=name: self._running(name) for name in self.began},  # type: ignore[misc]
            10.0,
            self._report,
        )

    def _running(self, name: str) -> float:
        began = self.began[name]
        return 0.0 if began is None else self.now - began

    async def _report(self, serving: bool) -> None:
        self.reports.append(serving)

    async def look_at(self, now: float) -> None:
        self.now = now
        await self.watchdog.look()


async def test_a_batch_may_take_its_time_and_not_more() -> None:
    lanes = Lanes()
    lanes.began["text"] = 100.0
    await lanes.look_at(110.0)
    assert (lanes.watchdog.stuck, lanes.reports) == (frozenset(), [])
    await lanes.look_at(110.1)
    assert (lanes.watchdog.stuck, lanes.reports) == ({"text"}, [False])


async def test_health_turns_once_and_back_when_the_last_lane_goes_on() -> None:
    lanes = Lanes()
    lanes.began |= {"text": 100.0, "image": 105.0}
    for now in (111.0, 112.0, 116.0):
        await lanes.look_at(now)
    assert (lanes.watchdog.stuck, lanes.reports) == ({"text", "image"}, [False])
    lanes.began["text"] = 116.0
    await lanes.look_at(117.0)
    assert (lanes.watchdog.stuck, lanes.reports) == ({"image"}, [False])
    lanes.began["image"] = None
    await lanes.look_at(118.0)
    assert (lanes.watchdog.stuck, lanes.reports) == (frozenset(), [False, True])


async def test_one_that_comes_loose_as_another_sticks_leaves_health_as_it_is() -> None:
    lanes = Lanes()
    lanes.began["text"] = 100.0
    await lanes.look_at(111.0)
    lanes.began |= {"text": None, "image": 111.0}
    await lanes.look_at(122.0)
    assert (lanes.watchdog.stuck, lanes.reports) == ({"image"}, [False])


async def test_the_log_has_the_stacks_once_for_each_hang(caplog: pytest.LogCaptureFixture) -> None:
    lanes = Lanes()
    lanes.began["text"] = 100.0
    with caplog.at_level(logging.WARNING):
        for now in (111.0, 112.0):
            await lanes.look_at(now)
        lanes.began["text"] = None
        await lanes.look_at(113.0)
    stuck, loose = caplog.records
    assert "the text lane is stuck" in stuck.getMessage()
    assert "test_watchdog.py" in stuck.__dict__["stacks"]
    assert loose.getMessage() == "the text lane goes on"


def test_stacks_are_of_all_threads_and_hold_no_values() -> None:
    secret = "a caller's text"
    text = stacks()
    assert "test_stacks_are_of_all_threads" in text
    assert secret not in text
