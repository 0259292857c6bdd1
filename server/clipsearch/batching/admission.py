"""Who may come into a lane: places, bytes, and whether there is time.

An item holds a place from admission to answer: while it is prepared, queued and computed, so one bound covers the
memory of all three. What it holds besides, an encoded picture and its pixels, is bounded in bytes. And an item that is
predicted to be done after its deadline is refused at once: it would take time from others, and then nobody would want
its answer.

Single calls are refused when there is no room; streams wait instead, which slows their sender down.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import NoReturn

from clipsearch.batching.forecast import Forecast
from clipsearch.batching.places import NEVER, Demand, Place
from clipsearch.batching.retrying import RetryAdvice
from clipsearch.batching.shares import Share, never_over, over_share
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
        self.refused: Counter[str] = Counter()
        """Items that were refused since the start, by the error's reason."""
        self._forecast = forecast
        self._lane = lane
        self._retry = RetryAdvice(clock)
        self._capacity, self._max_bytes = capacity, max_bytes
        self._roomy = never_over(capacity), never_over(max_bytes)
        self._bulk = max(1, int(capacity * BULK_SHARE_OF_PLACES)), int(max_bytes * BULK_SHARE_OF_PLACES)
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

    @property
    def crowded(self) -> bool:
        """Whether it matters who calls: up to one batch inside, everybody goes with the next one.

        To ask gRPC for the peer takes as long as a dozen other things that are done for a call.
        """
        return self._forecast is None or self._all.places >= self._forecast.batch_items

    def enter(self, demand: Demand) -> Place:
        """Take a place.

        Raises QueueFull, CallerOverShare, DeadlineUnreachable or DeadlineExpired; NotReady before ``open``,
        ShuttingDown after ``close``.
        """
        self._check(demand)
        return self._take(demand, None if demand.deadline == NEVER else self._limit_s(demand))

    def enter_together(self, demands: Sequence[Demand]) -> list[Place]:
        """Take a place for each item of a batch, or for none: raises as ``enter``. They share caller and deadline."""
        if not demands:
            return []
        first = demands[0]
        total = Demand(
            first.priority,
            first.caller,
            first.deadline,
            sum(one.cost for one in demands),
            sum(one.held_bytes for one in demands),
            max(one.ready_s for one in demands),
            len(demands),
        )
        self._check(total)
        limit_s = self._limit_s(total)
        # What was predicted is when the last of them is done.
        return [self._take(one, None) for one in demands[:-1]] + [self._take(demands[-1], limit_s)]

    async def enter_when_free(self, demand: Demand) -> Place:
        """Take one place, waiting for it in turn with other callers; raises only while the lane is not open.

        Nothing is predicted: a stream's deadline is that of all its items.
        """
        if self._refusal is None and not self._waiting and self._obstacle(demand) is None:
            return self._take(demand, None)
        self._check_open(demand)
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(demand.caller, deque()).append((demand, turn))
        self._wake()
        try:
            return await turn
        except asyncio.CancelledError:
            # The place may have been given already: pass it on, or it stays empty while others wait.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().leave()
            else:
                self._wake()
            raise

    def left(self, demand: Demand) -> None:
        """Give back what a demand holds; by its place only."""
        mine = self._callers[demand.caller]
        self._all.add(demand.priority, -demand.count, -demand.held_bytes, -demand.cost)
        mine.add(demand.priority, -demand.count, -demand.held_bytes, -demand.cost)
        if not mine.places:
            del self._callers[demand.caller]
        if self._waiting:
            self._wake()

    def recosted(self, demand: Demand, cost: int) -> None:
        """Note that an item that is inside costs something else; by its place only."""
        for share in (self._all, self._callers[demand.caller]):
            share.cost[demand.priority] += cost - demand.cost

    def held_prediction(self, *, held: bool) -> None:
        """Note whether an item was done in the time that was predicted for it; by its place only."""
        if self._forecast is not None:
            self._forecast.correction.learn(held=held)

    def open(self) -> None:
        """Let items in."""
        self._refusal = None

    def close(self) -> None:
        """Refuse everything from now on; items inside keep their places."""
        self._refusal = ShuttingDown
        waiting, self._waiting = self._waiting, {}
        for demand, turn in (one for queue in waiting.values() for one in queue):
            if not turn.done():
                turn.set_exception(self._not_open(ShuttingDown, demand))

    def _check(self, demand: Demand) -> None:
        """Raise where there is no room for a demand."""
        self._check_open(demand)
        obstacle = self._obstacle(demand)
        if obstacle is not None:
            self._refuse(demand, *obstacle)

    def _check_open(self, demand: Demand) -> None:
        if self._refusal is not None:
            raise self._not_open(self._refusal, demand)

    def _not_open(self, refusal: type[ClipsearchError], demand: Demand) -> ClipsearchError:
        self.refused[refusal.reason] += demand.count
        return refusal(f"the {self._lane} lane takes no items: {refusal.reason.lower()}")

    def _obstacle(self, demand: Demand) -> tuple[type[ClipsearchError], str, dict[str, str]] | None:
        """Why there is no room for a demand: the error's class, text and metadata; None where there is room."""
        held, count, size = self._all, demand.count, demand.held_bytes
        bulk = demand.priority is Priority.BULK
        places, max_bytes = self._bulk if bulk else (self._capacity, self._max_bytes)
        if held.places + count > places:
            return QueueFull, f"the {self._lane} lane is full", {"capacity": str(places), "requested": str(count)}
        # Who is alone is taken whatever it brings: nothing that leaves could make more room.
        if held.held_bytes > 0 and held.held_bytes + size > max_bytes:
            more = {"capacity_bytes": str(max_bytes), "requested_bytes": str(size)}
            return QueueFull, f"the {self._lane} lane holds as many bytes as it may", more
        if held.places + count <= self._roomy[0] and held.held_bytes + size <= self._roomy[1]:
            return None
        mine = self._callers.get(demand.caller)
        if mine is not None and (
            over_share(mine.places, count, held.places, self._capacity)
            or over_share(mine.held_bytes, size, held.held_bytes, self._max_bytes)
        ):
            more = {"held": str(mine.places), "requested": str(count)}
            return CallerOverShare, f"this caller holds as much of the {self._lane} lane as one may now", more
        return None

    def _limit_s(self, demand: Demand) -> float | None:
        """Seconds in which the demand will be done, to learn from; None where nothing can be learned.

        Raises DeadlineUnreachable where that is after its deadline, and DeadlineExpired where this passed already.
        """
        if self._forecast is None or demand.deadline == NEVER:
            return None
        left_s = demand.deadline - self.clock()
        if left_s <= 0.0:
            self.refused[DeadlineExpired.reason] += demand.count
            raise DeadlineExpired(f"the deadline passed before the {self._lane} lane was reached")
        # Who is alone is let in whatever is predicted, so a wrong prediction is tested rather than believed for ever.
        if not self._all.places:
            return None
        limit_s = self._predicted_s(demand)
        if limit_s > left_s:
            said = {"predicted_s": f"{limit_s:.3f}", "remaining_s": f"{left_s:.3f}"}
            self._refuse(demand, DeadlineUnreachable, f"the {self._lane} lane would be done after the deadline", said)
        # How early those are done who have all the time says nothing about those who have not.
        return limit_s if limit_s > 0.5 * left_s else None

    def _predicted_s(self, demand: Demand) -> float:
        """Seconds until the demand would be done, with everything ahead of it that could be."""
        assert self._forecast is not None, "asked before"
        mine = self._callers.get(demand.caller)
        others = len(self._callers) - (mine is not None)
        own = demand.cost + (0 if mine is None else mine.cost[demand.priority])
        # In a fair queue, every other caller is served no more than this one before this one's last item.
        turns = own * (others + 1) - demand.cost if others else None
        return self._forecast.finish_s(
            demand.priority, demand.cost, self._all.cost, ready_s=demand.ready_s, turns=turns
        )

    def _refuse(self, demand: Demand, kind: type[ClipsearchError], text: str, more: dict[str, str]) -> NoReturn:
        self.refused[kind.reason] += demand.count
        work_s = backlog_s = 0.0
        if self._forecast is not None:
            work_s = self._forecast.share_s(demand.cost)
            backlog_s = self._forecast.drain_s(self._all.cost)
        retry_after_s = self._retry.after(work_s, backlog_s)
        raise kind(text, metadata={"lane": self._lane, **more}, retry_after_s=retry_after_s)

    def _take(self, demand: Demand, limit_s: float | None) -> Place:
        mine = self._callers.get(demand.caller)
        if mine is None:
            mine = self._callers[demand.caller] = Share()
        self._all.add(demand.priority, demand.count, demand.held_bytes, demand.cost)
        mine.add(demand.priority, demand.count, demand.held_bytes, demand.cost)
        return Place(self, demand, limit_s)

    def _wake(self) -> None:
        """Give the places there are to those who wait, a caller after the other."""
        while self._refusal is None and self._wake_round():
            pass

    def _wake_round(self) -> bool:
        """Give a place to one of each caller; False where there is no room for any."""
        return sum(self._wake_one(caller) for caller in list(self._waiting)) > 0

    def _wake_one(self, caller: str) -> bool:
        """Give a place to the first who waits of this caller, and move the caller to the end; False without room."""
        queue = self._waiting[caller]
        while queue and queue[0][1].done():
            queue.popleft()  # went away
        if queue:
            demand, turn = queue[0]
            if self._obstacle(demand) is not None:
                return False
            queue.popleft()
            turn.set_result(self._take(demand, None))
        del self._waiting[caller]
        if queue:
            self._waiting[caller] = queue
        return True
