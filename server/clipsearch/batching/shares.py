"""What each caller holds of a lane: places, bytes, and work not done yet.

A caller that holds something already may hold at most three times what would still be free afterwards. One caller alone
can so have three quarters of everything, two greedy ones three sevenths each, and there is always room for one who
comes next (*dynamic thresholds*, as in shared-memory switches). A fixed share for each caller was the alternative: it
wastes most of the lane while there is one caller, and guards nothing while there are hundreds.
"""

from dataclasses import dataclass, field
from typing import Final

from clipsearch.ports import Priority

TIMES_FREE: Final = 3
"""What a caller may hold, in terms of what is left."""


@dataclass(slots=True)
class Share:
    """What is held, by one caller or by all together."""

    places: int = 0
    held_bytes: int = 0
    cost: dict[Priority, int] = field(default_factory=lambda: {Priority.INTERACTIVE: 0, Priority.BULK: 0})
    """Of items that hold a place: waiting, running, or still being prepared."""

    def add(self, priority: Priority, count: int, held_bytes: int, cost: int) -> None:
        """Note what is held from now on; negative numbers for what is no more."""
        self.places += count
        self.held_bytes += held_bytes
        self.cost[priority] += cost


def never_over(limit: int) -> int:
    """Return up to how much all together may hold for ``over_share`` to be false whoever holds it."""
    return limit * TIMES_FREE // (TIMES_FREE + 1)


def over_share(held: int, more: int, total: int, limit: int) -> bool:
    """Whether a caller who holds ``held`` of ``limit``, of which all hold ``total``, may not take ``more``.

    Who holds nothing may take whatever there is room for.
    """
    return held > 0 and held + more > TIMES_FREE * (limit - total - more)
