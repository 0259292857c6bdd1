"""The waiting items: order, priorities, expiry, delay. Time is told, never slept."""

import asyncio
from collections.abc import Iterator

import pytest

from clipsearch.batching.policy import BatchPolicy
from clipsearch.batching.queue import Entry, LaneQueue
from clipsearch.ports import Priority

NEVER = float("inf")


@pytest.fixture(name="loop")
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def entry(
    loop: asyncio.AbstractEventLoop,
    item: str,
    *,
    length: int = 1,
    bulk: bool = False,
    deadline: float = NEVER,
    at: float = 0.0,
) -> Entry[str, str]:
    priority = Priority.BULK if bulk else Priority.INTERACTIVE
    return Entry(item, loop.create_future(), length, priority, deadline, at)


def items(entries: list[Entry[str, str]]) -> list[str]:
    return [one.item for one in entries]


def test_a_free_worker_takes_what_waits_in_order_up_to_the_budget(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=3, max_cost=3))
    assert queue.ready_in(0.0) is None
    for name in "abcde":
        queue.add(entry(loop, name))
    assert queue.ready_in(0.0) == 0.0
    assert items(queue.take(0.0).batch) == ["a", "b", "c"]
    assert items(queue.take(0.0).batch) == ["d", "e"]
    assert len(queue) == 0


def test_expired_items_are_dropped_when_the_batch_is_formed(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=8, max_cost=8))
    queue.add(entry(loop, "late", deadline=1.0))
    queue.add(entry(loop, "in time", deadline=1.1))
    taken = queue.take(1.0)
    assert items(taken.expired) == ["late"]
    assert items(taken.batch) == ["in time"]


def test_when_all_interactive_items_expired_bulk_is_served_in_the_same_look(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=8, max_cost=8))
    queue.add(entry(loop, "late", deadline=1.0))
    queue.add(entry(loop, "bulk", bulk=True))
    taken = queue.take(2.0)
    assert (items(taken.expired), items(taken.batch)) == (["late"], ["bulk"])


def test_only_expired_items_give_an_empty_batch(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=8, max_cost=8))
    queue.add(entry(loop, "late", deadline=1.0))
    taken = queue.take(2.0)
    assert (items(taken.expired), taken.batch, len(queue)) == (["late"], [], 0)


def test_a_cancelled_item_leaves_its_place_at_once(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=8, max_cost=8))
    gone, stays = entry(loop, "gone"), entry(loop, "stays")
    queue.add(gone)
    queue.add(stays)
    queue.discard(gone)
    assert len(queue) == 1
    assert items(queue.take(0.0).batch) == ["stays"]
    queue.discard(stays)  # already taken: nothing to remove, and no error


def test_interactive_goes_first_and_bulk_gets_its_share(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=1, max_cost=1, bulk_share=0.25))
    for _ in range(400):
        queue.add(entry(loop, "i"))
        queue.add(entry(loop, "b", bulk=True))
    served = "".join(queue.take(0.0).batch[0].item for _ in range(400))
    assert served.startswith("i")
    assert served.count("b") == 100
    assert "iiiii" not in served, "the share comes evenly, not at the end"


def test_bulk_is_owed_nothing_for_the_time_it_did_not_wait(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=1, max_cost=1, bulk_share=0.5))
    for _ in range(50):
        queue.add(entry(loop, "i"))
    for _ in range(40):
        queue.take(0.0)
    for _ in range(10):
        queue.add(entry(loop, "b", bulk=True))
    assert "".join(queue.take(0.0).batch[0].item for _ in range(6)) == "ibibib"


def test_the_two_priorities_never_share_a_batch(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=8, max_cost=8))
    queue.add(entry(loop, "b", bulk=True))
    queue.add(entry(loop, "i"))
    assert items(queue.take(0.0).batch) == ["i"]
    assert items(queue.take(0.0).batch) == ["b"]


def test_texts_of_like_length_go_together_and_the_rest_follow(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=8, max_cost=200, batch_overhead=3))
    for name, length in (("a", 8), ("B", 70), ("c", 9), ("D", 71), ("e", 8)):
        queue.add(entry(loop, name, length=length))
    assert items(queue.take(0.0).batch) == ["a", "c", "e"]
    assert items(queue.take(0.0).batch) == ["B", "D"]


def test_a_delay_waits_for_company_until_the_oldest_has_waited_enough(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=2, max_cost=2, max_delay_s=0.010))
    queue.add(entry(loop, "a", at=5.0))
    assert queue.ready_in(5.004) == pytest.approx(0.006)
    assert queue.ready_in(5.010) == pytest.approx(0.0, abs=1e-9)
    queue.add(entry(loop, "b", at=5.004))
    assert queue.ready_in(5.004) == 0.0, "a full batch waits for nobody"


def test_long_items_are_not_overtaken_by_more_than_a_few_batches_of_later_ones(loop: asyncio.AbstractEventLoop) -> None:
    queue: LaneQueue[str, str] = LaneQueue(BatchPolicy(max_items=64, max_cost=100, batch_overhead=100))
    for number in range(100):  # every other one is a little longer
        queue.add(entry(loop, str(number), length=20 + number % 2))
    batches = []
    while queue:
        batches.append([int(item) for item in items(queue.take(0.0).batch)])
    assert batches[0] == [0, 2, 4, 6, 8], "like lengths go together"
    served = [number for batch in batches for number in batch]
    assert max(served.index(number) - number for number in range(100)) <= 4 * 5
    assert max(number - served.index(number) for number in range(100)) <= 4 * 5
