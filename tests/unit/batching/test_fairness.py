"""Turns among the callers of one queue."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from clipsearch.batching.fairness import FairQueue
from clipsearch.batching.shares import TIMES_FREE, over_share


@dataclass(slots=True, eq=False)
class Item:
    caller: str
    length: int = 1
    enqueued: float = 0.0


def filled(*items: Item) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue()
    for number, one in enumerate(items):
        one.enqueued = float(number)
        queue.add(one)
    return queue


def drained(queue: FairQueue[Item], batch: int = 1) -> list[Item]:
    served: list[Item] = []
    while queue:
        chosen = queue.first(batch)
        queue.serve(chosen)
        served += chosen
    return served


def callers(items: list[Item]) -> str:
    return "".join(one.caller for one in items)


def test_one_caller_is_served_in_order_of_arrival() -> None:
    items = [Item("a", length) for length in (5, 1, 3)]
    assert drained(filled(*items)) == items


def test_who_waits_with_one_item_is_next_but_one_to_who_waits_with_many() -> None:
    assert callers(drained(filled(*[Item("g")] * 0, *[Item("g") for _ in range(6)], Item("p")))) == "gpggggg"


def test_turns_are_weighted_by_cost() -> None:
    long, short = [Item("l", 4) for _ in range(3)], [Item("s") for _ in range(12)]
    order = callers(drained(filled(*long, *short)))
    assert order[:10].count("s") >= 7
    assert order[:10].count("l") >= 2


def test_nobody_saves_up_turns_while_away() -> None:
    queue = filled(*[Item("a") for _ in range(200)])
    for _ in range(100):
        queue.serve(queue.first(1))
    for _ in range(100):
        queue.add(Item("b", enqueued=300.0))
    order = callers(drained(queue))
    assert order[:20].count("b") <= 11, "b was away while a was served a hundred times"


def test_what_is_not_wanted_any_more_leaves_and_its_caller_is_forgotten() -> None:
    gone, stays = Item("a"), Item("b")
    queue = filled(gone, stays)
    queue.discard(gone)
    queue.discard(gone)
    assert len(queue) == 1
    assert list(queue.first(9)) == [stays]
    assert queue.oldest() == 1.0


QUEUES = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 9)), min_size=1, max_size=60)


@given(QUEUES, st.integers(1, 7))
def test_everything_is_served_once_and_in_order_of_its_caller(queue: list[tuple[str, int]], batch: int) -> None:
    items = [Item(caller, length) for caller, length in queue]
    served = drained(filled(*items), batch)
    assert sorted(map(id, served)) == sorted(map(id, items))
    for caller in "abcde":
        assert [one for one in served if one.caller == caller] == [one for one in items if one.caller == caller]


@given(QUEUES)
def test_no_caller_gets_ahead_of_another_who_waits_by_more_than_the_largest_item(queue: list[tuple[str, int]]) -> None:
    """The bound of start-time fair queueing: it is what "nobody starves" means in numbers."""
    items = [Item(caller, length) for caller, length in queue]
    left = {caller: sum(one.length for one in items if one.caller == caller) for caller in "abcde"}
    served = dict.fromkeys("abcde", 0)
    largest = max(one.length for one in items)
    for one in drained(filled(*items)):
        served[one.caller] += one.length
        waiting = [caller for caller in "abcde" if served[caller] < left[caller]]
        for other in waiting:
            assert served[one.caller] - served[other] <= 2 * largest


@given(st.integers(1, 20), st.integers(4, 2000))
def test_greedy_callers_together_leave_room_for_one_more(greedy: int, limit: int) -> None:
    held = [0] * greedy
    grew = True
    while grew:
        grew = False
        for number in range(greedy):
            if sum(held) < limit and not over_share(held[number], 1, sum(held), limit):
                held[number] += 1
                grew = True
    if greedy < limit // (2 * TIMES_FREE):
        assert sum(held) < limit
