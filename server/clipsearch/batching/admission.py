"""How many items may be inside a lane at once, from admission to answer.

An item holds its place while it is preprocessed, queued and computed, so one bound covers the memory of all three.
Single calls are refused at once when there is no room; streams wait instead, which slows their sender down.
"""

import asyncio
from collections import Counter, deque

from clipsearch.errors import ClipsearchError, NotReady, QueueFull, ShuttingDown
from clipsearch.ports import Priority

# Bulk items may fill only this part of the places, so that a flood of them never shuts interactive callers out.
BULK_SHARE_OF_PLACES = 0.75
RETRY_AFTER_S = 0.05


class Admission:
    """A bounded count of the items inside a lane. Used on the event loop only, so it needs no lock."""

    def __init__(self, lane: str, capacity: int) -> None:
        self._lane = lane
        self._limits = {
            Priority.INTERACTIVE: capacity,
            Priority.BULK: max(1, int(capacity * BULK_SHARE_OF_PLACES)),
        }
        self._inside = 0
        self.refused: Counter[str] = Counter()
        """Items that were refused since the start, by the error's reason."""
        self._refusal: type[ClipsearchError] | None = NotReady
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def inside(self) -> int:
        """Number of items that hold a place now."""
        return self._inside

    def enter(self, priority: Priority, count: int = 1) -> None:
        """Take ``count`` places or raise QueueFull; NotReady before ``open``, ShuttingDown after ``close``."""
        if self._refusal is not None:
            self.refused[self._refusal.reason] += count
            raise self._refusal(f"the {self._lane} lane takes no items: {self._refusal.reason.lower()}")
        limit = self._limits[priority]
        if self._inside + count > limit:
            self.refused[QueueFull.reason] += count
            raise QueueFull(
                f"the {self._lane} lane is full",
                metadata={"lane": self._lane, "capacity": str(limit), "requested": str(count)},
                retry_after_s=RETRY_AFTER_S,
            )
        self._inside += count

    async def enter_when_free(self, priority: Priority) -> None:
        """Take one place, waiting for it in order of arrival; raises as ``enter`` does while the lane is not open."""
        while self._refusal is None and self._inside >= self._limits[priority]:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # The wake-up may have been meant for us: pass it on, or a place stays empty while others wait.
                if turn.done() and not turn.cancelled():
                    self._wake_next()
                raise
        self.enter(priority)
        self._wake_next()

    def leave(self, count: int = 1) -> None:
        """Give back ``count`` places."""
        self._inside -= count
        self._wake_next()

    def open(self) -> None:
        """Let items in."""
        self._refusal = None

    def close(self) -> None:
        """Refuse everything from now on; items inside keep their places."""
        self._refusal = ShuttingDown
        while self._waiting:
            self._wake_next()

    def _wake_next(self) -> None:
        if self._refusal is None and self._inside >= self._limits[Priority.BULK]:
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
