"""A lane whose batch never ends answers nobody, and looks idle: the watchdog has health say so, and the log say where.

Python cannot end a thread that hangs in a library, and a worker that is given up on still holds what it holds. So the
server reports NOT_SERVING, for callers to go elsewhere and for an orchestrator to restart it, and SERVING again if the
batch ends after all.
"""

import asyncio
import faulthandler
import logging
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

logger = logging.getLogger(__name__)

LOOKS: Final = 4
"""How often, in the time that a batch may take, the lanes are looked at."""


class Watchdog:
    """Looks at lanes and tells when one got stuck or all came loose again. Used on the event loop alone."""

    def __init__(
        self, lanes: Mapping[str, Callable[[], float]], limit_s: float, report: Callable[[bool], Awaitable[None]]
    ) -> None:
        """``lanes`` give, by name, how long their oldest batch has been running; ``report`` is told when it changes
        whether all of them are well.
        """
        self._lanes, self._limit_s, self._report = lanes, limit_s, report
        self._stuck: frozenset[str] = frozenset()

    @property
    def stuck(self) -> frozenset[str]:
        """The names of the lanes that were stuck at the last look."""
        return self._stuck

    async def look(self) -> None:
        """Look once."""
        before = self._stuck
        self._stuck = frozenset(name for name, running_s in self._lanes.items() if running_s() > self._limit_s)
        for name in sorted(self._stuck - before):
            logger.error(
                "the %s lane is stuck: a batch has been running for more than %g s", name, self._limit_s,
                extra={"stacks": stacks()},
            )  # fmt: skip
        for name in sorted(before - self._stuck):
            logger.warning("the %s lane goes on", name)
        if bool(before) != bool(self._stuck):
            await self._report(not self._stuck)

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._limit_s / LOOKS)
            await self.look()


def stacks() -> str:
    """Return where every thread of the process is, as ``faulthandler`` writes it: frames alone, no values."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="replace")
