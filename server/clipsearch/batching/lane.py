"""A lane: queue, worker threads, and the way back to the event loop.

Workers pull: a worker that finishes a batch takes the next one itself, under the lane's lock, without asking the event
loop. (Dispatching from the loop was the alternative; it leaves the device idle for a loop round trip per batch, which
under load is the time the loop needs for everything else.) Results go back with one ``call_soon_threadsafe`` per
batch, so the loop is woken once however many items the batch held.

A worker may take what waits once it was gathered, which ``gathering`` explains.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clipsearch.batching.admission import UNBOUNDED, Admission
from clipsearch.batching.forecast import Forecast, Running
from clipsearch.batching.gathering import LONG_RUN_S, Gathering, GivingWay
from clipsearch.batching.policy import BatchPolicy
from clipsearch.batching.queue import Entry, LaneQueue, Taken
from clipsearch.errors import ClipsearchError, ComputeFailed, DeadlineExpired, OutOfMemory, ShuttingDown
from clipsearch.ports import Clock, Priority

logger = logging.getLogger(__name__)

OUT_OF_MEMORY_RETRY_S = 1.0
"""When to come back where memory was short, in seconds: what else took it has to end first."""

Item = TypeVar("Item")
Output = TypeVar("Output")

Run = Callable[[Sequence[Item]], Sequence[Output | ClipsearchError]]
"""Computes one batch on a worker thread. Returns one output per item, in order; an error in an item's place fails that
item alone. What it raises is taken to be the fault of some item, which is then searched for by halving the batch."""


Observer = Callable[[Sequence[Entry[Item, Any]], Sequence[Output | ClipsearchError], float, float], None]
"""Told of a batch when its answers have just been given, on the event loop: its entries, one output for each, and when
on the lane's clock it began to run and ended."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Output]):
    """An output and where its time went."""

    output: Output
    queued_s: float
    ran_s: float
    batch_size: int


@dataclass(slots=True)
class LaneCounts:
    """Totals since the start; read by telemetry and tests."""

    batches: int = 0
    items: int = 0
    failed: int = 0
    expired: int = 0
    out_of_memory: int = 0
    cancelled: int = 0
    cost: int = 0
    padded_cost: float = 0.0


class Lane(Generic[Item, Output]):
    """Queue, batcher and workers of one stage.

    ``submit`` is called on the event loop that ``start`` was called on. Callers hold places of ``admission`` around
    ``submit``, so the queue is bounded by the lane's capacity.
    """

    def __init__(
        self,
        name: str,
        run: Run[Item, Output],
        policy: BatchPolicy,
        *,
        capacity: int,
        max_bytes: int = UNBOUNDED,
        workers: int = 1,
        observers: Sequence[Observer[Item, Output]] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        """``capacity`` and ``max_bytes`` bound what the items inside are and hold."""
        self.name = name
        self.capacity = capacity
        self.policy = policy
        self.forecast = Forecast(policy, workers, clock)
        self.admission = Admission(name, capacity, max_bytes=max_bytes, forecast=self.forecast, clock=clock)
        self.counts = LaneCounts()
        self._run = run
        self._observers = observers
        self._clock = clock
        self._queue: LaneQueue[Item, Answer[Output]] = LaneQueue(policy)
        self._changed = threading.Condition()
        self._stopping = False
        self._gathering: Gathering | None = None
        self._give_way = GivingWay(clock)
        self._last_run_s = 0.0
        self._cpu_s = [0.0] * workers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"{name}-lane-{n}", daemon=True) for n in range(workers)
        ]

    def start(self) -> None:
        """Start the workers; their results go to the running event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()
        self.admission.open()

    async def stop(self) -> None:
        """Refuse new items, finish those that wait, and end the workers."""
        self.admission.close()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                await asyncio.to_thread(thread.join)

    async def submit(
        self,
        item: Item,
        *,
        length: int = 1,
        priority: Priority = Priority.INTERACTIVE,
        deadline: float = float("inf"),
        caller: str = "",
    ) -> Answer[Output]:
        """Compute one item in some batch.

        ``length`` is the item's cost before padding; ``deadline`` is on the lane's clock; callers take turns. Raises
        DeadlineExpired if it passes while the item waits, ShuttingDown after ``stop``, and whatever error the item
        itself earned.
        """
        future: asyncio.Future[Answer[Output]] = asyncio.get_running_loop().create_future()
        entry = Entry(item, future, length, priority, deadline, self._clock(), caller)
        with self._changed:
            if self._stopping:
                raise ShuttingDown("the server is shutting down")
            self._queue.add(entry)
            self._arrived()
        try:
            return await future
        except asyncio.CancelledError:
            with self._changed:
                self._queue.discard(entry)
            self.counts.cancelled += 1
            raise

    def waiting(self) -> int:
        """Number of items queued now."""
        with self._changed:
            return len(self._queue)

    def depth(self, priority: Priority) -> int:
        """Number of items of one priority queued now."""
        with self._changed:
            return self._queue.depth(priority)

    def running_s(self) -> float:
        """How long the oldest batch that runs now has been running, in seconds; 0 where none does."""
        began = [one.began for one in self.forecast.running if one is not None]
        return self._clock() - min(began) if began else 0.0

    def cpu_s(self) -> float:
        """Processor time that the workers had by the end of their last batches, in seconds."""
        return sum(self._cpu_s)

    def _arrived(self) -> None:
        """Gather what is on its way before the workers are let at the queue."""
        if self._gathering is not None:
            self._gathering.came()
            return
        brief = self.admission.inside <= 1 or self._last_run_s > LONG_RUN_S
        self._gathering = Gathering(self._clock(), brief)
        asyncio.get_running_loop().call_soon(self._gather)

    def _gather(self) -> None:
        """Called once in every pass of the event loop while items are gathered."""
        assert self._gathering is not None, "scheduled only while gathering"
        if not self._gathering.passed(self._clock()) and not self._stopping:
            self._give_way()
            asyncio.get_running_loop().call_soon(self._gather)
            return
        with self._changed:
            self._gathering = None
            self._changed.notify()

    def _work(self, worker: int) -> None:
        while self._work_once(worker):
            pass

    def _work_once(self, worker: int) -> bool:
        """Run one batch; False once stopped and empty. A call of its own, so that an idle worker holds no batch."""
        taken = self._next()
        if taken is None:
            return False
        if taken.expired:
            self._to_loop(self._expire, taken.expired)
        batch = taken.batch
        if not batch:
            return True
        lengths = [entry.length for entry in batch]
        cost, started = sum(lengths), self._clock()
        padded_cost = cost + self.policy.padding(len(lengths), max(lengths), cost)
        # Left as it is by a worker that dies of the batch: it runs for ever.
        self.forecast.running[worker] = running = Running(batch[0].priority, cost, padded_cost, started)
        outputs, whole = self._compute(batch)
        self.forecast.running[worker] = None
        self._to_loop(self._deliver, batch, outputs, running, self._clock(), whole)
        self._cpu_s[worker] = time.thread_time()
        return True

    def _next(self) -> Taken[Item, Answer[Output]] | None:
        """Block until there is a batch; None once stopped and empty."""
        with self._changed:
            while True:
                wait_s = self._queue.ready_in(self._clock())
                if self._stopping:
                    return None if wait_s is None else self._queue.take(self._clock())
                if wait_s == 0.0 and self._gathering is None:
                    taken = self._queue.take(self._clock())
                    if self._queue:
                        self._changed.notify()  # the rest is another worker's
                    return taken
                self._changed.wait(wait_s or None)

    def _compute(
        self, batch: Sequence[Entry[Item, Answer[Output]]], *, smaller: bool = False
    ) -> tuple[Sequence[Output | ClipsearchError], bool]:
        """Return the outputs of a batch, and whether it ran as a whole.

        Where that raises it is halved until the items at fault stand alone; for want of memory once, and what is too
        much in a ``smaller`` batch then fails.
        """
        try:
            return self._ran(batch), True
        except (MemoryError, OutOfMemory) as error:
            if smaller:
                self.counts.out_of_memory += len(batch)
                logger.error("the %s lane has no memory for %d items: %s", self.name, len(batch), error)
                return [self._out_of_memory() for _ in batch], False
            logger.warning("the %s lane has no memory for %d items, trying halves: %s", self.name, len(batch), error)
            smaller = True
        except Exception as error:  # noqa: BLE001  # a worker must outlive any model; logged and returned
            if len(batch) == 1:
                batch[0].context.run(logger.exception, "the %s lane failed on an item", self.name)
                fault = ComputeFailed(f"the {self.name} stage failed on this item")
                return [error if isinstance(error, ClipsearchError) else fault], False
        # Not inside the handlers, which keep alive what the run that failed had allocated.
        half = len(batch) // 2
        parts = [part for part in (batch[:half], batch[half:]) if part]
        return [output for part in parts for output in self._compute(part, smaller=smaller)[0]], False

    def _ran(self, batch: Sequence[Entry[Item, Answer[Output]]]) -> Sequence[Output | ClipsearchError]:
        outputs = self._run([entry.item for entry in batch])
        if len(outputs) != len(batch):
            raise ComputeFailed(f"the {self.name} lane got {len(outputs)} outputs for {len(batch)} items")
        return outputs

    def _out_of_memory(self) -> OutOfMemory:
        text = f"there is no memory to compute this in the {self.name} lane"
        return OutOfMemory(text, retry_after_s=OUT_OF_MEMORY_RETRY_S)

    def _to_loop(self, callback: Callable[..., None], *args: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(callback, *args)

    def _deliver(
        self,
        batch: list[Entry[Item, Answer[Output]]],
        outputs: Sequence[Output | ClipsearchError],
        running: Running,
        finished: float,
        whole: bool,
    ) -> None:
        counts, started = self.counts, running.began
        counts.batches += 1
        counts.items += len(batch)
        counts.cost += running.cost
        counts.padded_cost += running.padded_cost
        ran_s = self._last_run_s = finished - started
        if whole:
            self.forecast.ran(len(batch), running.padded_cost, ran_s)
        for entry, output in zip(batch, outputs, strict=True):
            if entry.future.done():
                continue
            if isinstance(output, ClipsearchError):
                counts.failed += 1
                entry.future.set_exception(output)
            else:
                entry.future.set_result(Answer(output, started - entry.enqueued, ran_s, len(batch)))
        for observer in self._observers:
            observer(batch, outputs, started, finished)

    def _expire(self, entries: list[Entry[Item, Answer[Output]]]) -> None:
        for entry in entries:
            if not entry.future.done():
                self.counts.expired += 1
                entry.future.set_exception(DeadlineExpired(f"the deadline passed in the {self.name} queue"))
