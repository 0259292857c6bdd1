"""Whose turn it is among the callers that wait in one queue: start-time fair queueing.

Every caller has a virtual time, which is the cost it was served. The one with the least is next, oldest item first; who
comes in new starts at the time of whoever was served last, so nobody saves up turns while away. A caller with two
hundred items waiting and one with a single item then get a turn each, and no item waits for more than its own caller's
earlier ones and a like cost of every other caller's. (Deficit round robin, the alternative, serves as fairly but in
rounds of a quantum; with batches of one picture as well as of sixty texts there is no good size for it.) Callers
who have nothing waiting are forgotten.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What is asked of an entry."""

    caller: str
    length: int
    """Its cost."""
    enqueued: float


Entry = TypeVar("Entry", bound=Queued)


@dataclass(slots=True)
class _Waiting(Generic[Entry]):
    served: float
    """Virtual time."""
    # A dict keeps the order of arrival and removes a cancelled entry in constant time.
    entries: dict[Entry, None] = field(default_factory=dict)


class FairQueue(Generic[Entry]):
    """The waiting entries of one priority. Not thread-safe."""

    def __init__(self) -> None:
        self._callers: dict[str, _Waiting[Entry]] = {}
        self._now = 0.0  # virtual
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, entry: Entry) -> None:
        """Append an entry to its caller's."""
        waiting = self._callers.get(entry.caller)
        if waiting is None:
            waiting = self._callers[entry.caller] = _Waiting(self._now)
        waiting.entries[entry] = None
        self._length += 1

    def discard(self, entry: Entry) -> None:
        """Remove an entry that is not to be served; without effect if it is not there."""
        waiting = self._callers.get(entry.caller)
        if waiting is None or entry not in waiting.entries:
            return
        del waiting.entries[entry]
        self._length -= 1
        if not waiting.entries:
            del self._callers[entry.caller]

    def first(self, count: int) -> Sequence[Entry]:
        """Return up to ``count`` entries in the order in which they would be served one by one; none is removed."""
        if len(self._callers) == 1:
            (alone,) = self._callers.values()
            return list(islice(alone.entries, count))
        chosen: list[Entry] = []
        # The order of arrival decides between equals, the number between those that came at once.
        turns = []
        for number, waiting in enumerate(self._callers.values()):
            entries = iter(waiting.entries)
            head = next(entries)
            turns.append((waiting.served, head.enqueued, number, head, entries))
        heapq.heapify(turns)
        while turns and len(chosen) < count:
            served, _, number, head, entries = turns[0]
            chosen.append(head)
            after = next(entries, None)
            if after is None:
                heapq.heappop(turns)
            else:
                heapq.heapreplace(turns, (served + head.length, after.enqueued, number, after, entries))
        return chosen

    def serve(self, batch: Iterable[Entry]) -> None:
        """Remove entries that are served now, and charge their callers; the first is whose turn it was."""
        for place, entry in enumerate(batch):
            waiting = self._callers[entry.caller]
            if place == 0:
                self._now = max(self._now, waiting.served)
            waiting.served += entry.length
            del waiting.entries[entry]
            if not waiting.entries:
                del self._callers[entry.caller]
            self._length -= 1

    def oldest(self) -> float:
        """When the entry that waits longest came; the queue must not be empty."""
        return min(next(iter(waiting.entries)).enqueued for waiting in self._callers.values())
