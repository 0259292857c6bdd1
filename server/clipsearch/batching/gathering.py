"""How long a lane that could take a batch at once waits for items that are already on their way.

Under load each pass of the event loop brings few items: gRPC takes in one call per pass, and some passes later it has
that call's message. A worker that takes the first of them at once gives it a batch of its own, and then fights the loop
for the interpreter lock while the others are being taken in; for a small model that costs more than to encode and to
search. So items are gathered until the loop has gone round some times without a new one. On a quiet machine that is a
fraction of a millisecond, and who is alone does not wait for anybody.

A timer was the alternative. The event loop's are good to a millisecond, which an idle server would add to every answer.

Between two passes the core is given to whoever waits for it: what is on its way may be in the hands of a front process
that has to share the core with the passes that wait for it.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from clipsearch.ports import Clock

QUIET_PASSES = 16
"""Passes of the event loop without a new item that end a gathering, some 10 µs each where the loop has nothing to do.

With 64 searches in flight on two cores 8 gave batches of 17 instead of 2, and a quarter less CPU time for each; 16 a
little more, 32 nothing more.
"""

GATHER_S = 0.002
"""Longest time that a gathering takes, in seconds."""

LONG_RUN_S = 0.005
"""Batches that run longer than this, in seconds, gather the next one by themselves: what was on its way has come."""

KEPT_S = 0.002
"""How long the core may be gone, in seconds, before it counts as taken by somebody who will not give it back soon: an
encoder, the building of an index, another program. Fronts give it back in less, nearly always."""

REST_S = 1.0
"""How long it is then kept, in seconds."""


@dataclass(slots=True)
class Gathering:
    """One gathering, begun at ``began`` on the lane's clock. Not thread-safe: the event loop's alone."""

    began: float
    brief: bool
    """To be over in the next pass, unless something comes in this one: nobody else is known to be on their way."""
    _quiet: int = field(init=False)

    def __post_init__(self) -> None:
        self._quiet = QUIET_PASSES if self.brief else 0

    def came(self) -> None:
        """Note that one more item came."""
        self._quiet = 0

    def passed(self, now: float) -> bool:
        """Note that the loop went round once; returns whether the gathering is over."""
        self._quiet += 1
        return self._quiet > QUIET_PASSES or now >= self.began + GATHER_S


def _sched_yield() -> None:
    """Go to the end of the core's queue of threads; Windows calls it a sleep of no time."""
    if sys.platform == "win32":
        time.sleep(0.0)
    else:
        os.sched_yield()


class GivingWay:
    """Lets other threads have the core for a turn; for a while not, once one of them kept it. The event loop's alone.

    Linux charges who yields with a whole turn, so beside somebody who computes all the time every answer would wait for
    several turns of theirs.
    """

    def __init__(self, clock: Clock, yield_core: Callable[[], None] = _sched_yield) -> None:
        self._clock = clock
        self._yield_core = yield_core
        self._resting_until = float("-inf")

    def __call__(self) -> None:
        """Return when it is this thread's turn again."""
        began = self._clock()
        if began < self._resting_until:
            return
        self._yield_core()
        if self._clock() - began > KEPT_S:
            self._resting_until = began + REST_S
