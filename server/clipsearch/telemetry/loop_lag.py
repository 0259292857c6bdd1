"""How late the event loop is, and how busy: a timer that should have run is asked how long it waited.

A loop that is late answers nothing in time, health included, and no other figure tells: each stage looks as usual.
"""

import asyncio
import time
from typing import Final

from clipsearch.telemetry.histogram import Histogram

EVERY_S: Final = 0.25
LAG_SECONDS: Final = (1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """A timer on the loop that ``start`` was called on."""

    def __init__(self) -> None:
        self.seconds = Histogram(LAG_SECONDS)
        self.cpu_s = 0.0
        """Processor time that the loop's thread had when the timer ran last, in seconds."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(EVERY_S, self._ran, loop, loop.time() + EVERY_S)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _ran(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.seconds.observe(max(0.0, loop.time() - due))
        self.cpu_s = time.thread_time()
        self._timer = loop.call_later(EVERY_S, self._ran, loop, loop.time() + EVERY_S)
