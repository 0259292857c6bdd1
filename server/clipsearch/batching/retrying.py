"""When a refused caller should come back: later the more there is to do, and never all together.

The lane has to work off what it holds, and would then have to do what it refused of late. The wait is drawn around the
sum of both, so that those who come back do so spread over the time in which they could be served.
"""

import math
import random
import time
from collections.abc import Callable
from typing import Final

from clipsearch.ports import Clock

LEAST_S: Final = 0.05
MOST_S: Final = 10.0

_LATE_S: Final = 1.0
"""Time constant, in seconds, with which what was refused is forgotten."""


class RetryAdvice:
    """One lane's."""

    def __init__(self, clock: Clock = time.monotonic, draw: Callable[[], float] = random.random) -> None:
        """``draw`` returns a number in [0, 1)."""
        self._clock, self._draw = clock, draw
        self._refused_s = 0.0
        self._as_of = clock()

    def after(self, work_s: float, backlog_s: float) -> float:
        """Return the seconds to wait for one who is refused ``work_s`` of work while ``backlog_s`` of it is held."""
        now = self._clock()
        self._refused_s = self._refused_s * math.exp((self._as_of - now) / _LATE_S) + work_s
        self._as_of = now
        around = min(max(backlog_s + self._refused_s, LEAST_S), MOST_S)
        return around * (0.5 + self._draw())
