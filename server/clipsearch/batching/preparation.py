"""Pictures are decoded on threads before their lane: whose turn it is, and how long that will take.

Threads take their work in order of arrival, which would let one caller's two hundred pictures stand before everybody
else's. So only as many are given to them as keep them busy, and the others wait in a queue like a lane's, with its
priorities and its turns for every caller.

A picture's cost is its size in bytes. Pixels would tell more, but are known only once its header was read, and whoever
is refused should cost nothing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

from clipsearch.batching.cost import CostModel
from clipsearch.batching.policy import BatchPolicy
from clipsearch.batching.queue import Entry, LaneQueue
from clipsearch.errors import DeadlineExpired
from clipsearch.ports import Clock, Priority

Ready = TypeVar("Ready")

GIVEN: Final = 2
"""Inputs that each thread is given, the one it works on among them, so that it need not wait for the event loop."""


class Preparation:
    """What some threads have to prepare. Used on the event loop only."""

    def __init__(
        self, executor: Executor, threads: int, *, bulk_share: float = 0.2, clock: Clock = time.monotonic
    ) -> None:
        """``executor`` has ``threads`` threads; ``bulk_share`` as in BatchPolicy."""
        self._executor = executor
        self._threads = threads
        self._clock = clock
        self._free = GIVEN * threads
        self._queue: LaneQueue[None, None] = LaneQueue(BatchPolicy(1, 1, bulk_share=bulk_share))
        self._model = CostModel()
        self._pending_s = 0.0

    @property
    def waiting(self) -> int:
        """Number of inputs that no thread was given yet."""
        return len(self._queue)

    def finish_s(self, sizes: Sequence[int]) -> float:
        """Return the seconds until inputs of these sizes, in bytes, would all be ready; 0 while too little is known."""
        if not self._model.trusted:
            return 0.0
        own = [self._model.predict(size) for size in sizes]
        return self._pending_s / self._threads + max(sum(own) / self._threads, max(own, default=0.0))

    async def run(
        self, work: Callable[[bytes], Ready], data: bytes, *, priority: Priority, deadline: float, caller: str
    ) -> Ready:
        """Return ``work(data)``, done on a thread when it is the caller's turn.

        Raises what that raises, and DeadlineExpired if the deadline passes before.
        """
        expected_s = self._model.predict(len(data))
        self._pending_s += expected_s
        try:
            await self._turn(Entry(None, _future(), max(1, len(data)), priority, deadline, self._clock(), caller))
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, work, data)
            finally:
                self._pass_on()
        finally:
            self._pending_s = max(0.0, self._pending_s - expected_s)

    def took(self, size: int, seconds: float) -> None:
        """Learn from an input of ``size`` bytes that became ready after ``seconds`` on its thread."""
        self._model.observe(max(1, size), seconds)

    async def _turn(self, entry: Entry[None, None]) -> None:
        if self._free:
            self._free -= 1
            return
        self._queue.add(entry)
        try:
            await entry.future
        except asyncio.CancelledError:
            self._queue.discard(entry)
            if not entry.future.cancelled() and entry.future.exception() is None:
                self._pass_on()  # it was its turn already
            raise

    def _pass_on(self) -> None:
        """Let another take the turn that was used."""
        while self._queue:
            taken = self._queue.take(self._clock())
            for entry in taken.expired:
                if not entry.future.done():
                    entry.future.set_exception(DeadlineExpired("the deadline passed before the picture was decoded"))
            for entry in taken.batch:
                if not entry.future.done():  # or it was cancelled and does not know yet
                    entry.future.set_result(None)
                    return
        self._free += 1


def _future() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()
