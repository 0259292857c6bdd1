"""Who may come into a lane: places, bytes, and whether there is time.

An item holds a place from admission to answer: while it is prepared, queued and computed, so one bound covers the memory
of all three. What it holds besides, an encoded picture and its pixels, is bounded in bytes, for all lanes that share an
allowance. And an item that is predicted to be done after its deadline is refused at once: it would take time from
others, and then nobody would want its answer.

Single calls are refused when there is no room; streams wait instead, which slows their sender down.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from clipsearch.batching.forecast import Forecast
from clipsearch.batching.policy import BatchPolicy
from clipsearch.batching.retrying import RetryAdvice
from clipsearch.batching.shares import Share, over_share
from clipsearch.errors import (
    CallerOverShare,
    ClipsearchError,
    DeadlineExpired,
    DeadlineUnreachable,
    NotReady,
    QueueFull,
    ShuttingDown,
)
from clipsearch.ports import Clock, Priority

# Bulk items may fill only this part of the places, so that a flood of them never shuts interactive callers out.
BULK_SHARE_OF_PLACES = 0.75

UNBOUNDED = 2**63


@dataclass(frozen=True, slots=True)
class Demand:
    """What one item asks of a lane."""

    priority: Priority = Priority.INTERACTIVE
    caller: str = ""
    deadline: float = float("inf")
    """On the lane's clock."""
    cost: float = 1.0
    """As the lane's policy counts, estimated where it is not known yet."""
    held_bytes: int = 0
    ready_s: float = 0.0
    """Seconds until it can join the queue, as far as known."""


class Place:
    """An item's place in a lane: a context manager, to be left exactly once."""

    __slots__ = ("_admission", "_demand", "_entered", "_limit_s")

    def __init__(self, admission: "Admission", demand: Demand, entered: float, limit_s: float | None) -> None:
        """``limit_s`` is the time in which it was predicted to be done, None where it was not."""
        self._admission, self._demand, self._entered, self._limit_s = admission, demand, entered, limit_s

    def __enter__(self) -> "Place":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Give the place back, and tell how the prediction did where that can be told."""
        self._admission.left(self._demand)
        if self._limit_s is None:
            return
        took_s = self._admission.clock() - self._entered
        if kind is None or took_s > self._limit_s:
            self._admission.forecast.correction.learn(held=took_s <= self._limit_s)

    def leave(self) -> None:
        """Give the place back without a word on how long it took."""
        self._admission.left(self._demand)


class Admission:
    """The places of a lane. Used on the event loop only, so it needs no lock."""

    def __init__(
        self,
        lane: str,
        capacity: int,
        *,
        max_bytes: int = UNBOUNDED,
        forecast: Forecast | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """``forecast`` is the lane's; None for one that batches nothing, and then nothing is predicted."""
        self.clock = clock
        self.forecast = forecast or Forecast(BatchPolicy(1, 1), 1, clock)
        self._lane = lane
        self._retry = RetryAdvice(clock)
        self._limits = {
            Priority.INTERACTIVE: (capacity, max_bytes),
            Priority.BULK: (
                max(1, int(capacity * BULK_SHARE_OF_PLACES)),
                int(max_bytes * BULK_SHARE_OF_PLACES),
            ),
        }
        self._all = Share()
        self._callers: dict[str, Share] = {}
        self._refusal: type[ClipsearchError] | None = NotReady
        self._waiting: dict[str, deque[tuple[Demand, asyncio.Future[Place]]]] = {}

    @property
    def inside(self) -> int:
        """Number of items that hold a place now."""
        return self._all.places

    @property
    def held_bytes(self) -> int:
        """Bytes that they hold."""
        return self._all.held_bytes
