"""The items that wait for a batch: two priorities, and inside each a turn for every caller.

Not thread-safe and without a clock of its own: the lane holds a lock around it and tells it the time, so tests can
drive it through any schedule without sleeping.
"""

import asyncio
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from clipsearch.batching.fairness import FairQueue
from clipsearch.batching.policy import BatchPolicy, choose, is_full
from clipsearch.ports import Priority

LOOKED_THROUGH = 4
"""Batches' worth of items that a batch is chosen from. More would find more of like length, and would have long texts
overtaken by so many later ones that nobody could tell when they are done."""

Item = TypeVar("Item")
Output = TypeVar("Output")


@dataclass(slots=True, eq=False)
class Entry(Generic[Item, Output]):
    """One item on its way through a lane."""

    item: Item
    future: "asyncio.Future[Output]"
    length: int
    priority: Priority
    deadline: float
    """Clock time after which nobody wants the answer; infinity for none."""
    enqueued: float
    caller: str = ""
    """Who asks: items of the same caller take turns with those of others."""
    context: Context = field(default_factory=copy_context)
    """The context variables of whoever waits: what a worker logs for this item is logged as theirs."""


@dataclass(slots=True)
class Taken(Generic[Item, Output]):
    """What one look at the queue gave."""

    batch: list[Entry[Item, Output]] = field(default_factory=list)
    expired: list[Entry[Item, Output]] = field(default_factory=list)


class LaneQueue(Generic[Item, Output]):
    """Waiting entries and the rule for who is next."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._interactive: FairQueue[Entry[Item, Output]] = FairQueue()
        self._bulk: FairQueue[Entry[Item, Output]] = FairQueue()
        # Cost that bulk is owed: grows by its share of each interactive batch that ran while bulk waited.
        self._owed_to_bulk = 0.0

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    def depth(self, priority: Priority) -> int:
        """Number of entries of one priority."""
        return len(self._waiting(priority))

    def add(self, entry: Entry[Item, Output]) -> None:
        """Append an entry."""
        self._waiting(entry.priority).add(entry)

    def discard(self, entry: Entry[Item, Output]) -> None:
        """Remove an entry whose caller went away; without effect if it was already taken."""
        self._waiting(entry.priority).discard(entry)

    def ready_in(self, now: float) -> float | None:
        """Seconds until a batch should be taken: 0 at once, None while nothing waits."""
        if not self:
            return None
        if self._policy.max_delay_s == 0.0:
            return 0.0
        for waiting in (self._interactive, self._bulk):
            if is_full([entry.length for entry in waiting.first(self._policy.max_items)], self._policy):
                return 0.0
        oldest = min(waiting.oldest() for waiting in (self._interactive, self._bulk) if waiting)
        return max(0.0, oldest + self._policy.max_delay_s - now)

    def take(self, now: float) -> Taken[Item, Output]:
        """Remove and return the next batch, along with the expired entries met on the way."""
        taken: Taken[Item, Output] = Taken()
        while self and not taken.batch:
            priority = self._turn()
            self._take_from(priority, now, taken)
            self._settle(priority, sum(entry.length for entry in taken.batch))
        return taken

    def _take_from(self, priority: Priority, now: float, taken: Taken[Item, Output]) -> None:
        waiting = self._waiting(priority)
        window: list[Entry[Item, Output]] = []
        cost = 0
        for entry in waiting.first(LOOKED_THROUGH * self._policy.max_items):
            if entry.deadline <= now:
                taken.expired.append(entry)
                continue
            window.append(entry)
            cost += entry.length
            if cost >= LOOKED_THROUGH * self._policy.max_cost:
                break
        if window:
            taken.batch = [window[i] for i in choose([entry.length for entry in window], self._policy)]
        for entry in taken.expired:
            waiting.discard(entry)
        waiting.serve(taken.batch)

    def _turn(self) -> Priority:
        if self._interactive and self._bulk:
            return Priority.BULK if self._owed_to_bulk > 0.0 else Priority.INTERACTIVE
        # A share is for sharing: with nobody to share with, nothing is owed.
        self._owed_to_bulk = 0.0
        return Priority.INTERACTIVE if self._interactive else Priority.BULK

    def _settle(self, served: Priority, cost: int) -> None:
        share = self._policy.bulk_share
        if served is Priority.INTERACTIVE and self._bulk:
            self._owed_to_bulk += share * cost
        elif served is Priority.BULK and self._interactive:
            self._owed_to_bulk -= (1.0 - share) * cost

    def _waiting(self, priority: Priority) -> FairQueue[Entry[Item, Output]]:
        return self._interactive if priority is Priority.INTERACTIVE else self._bulk
