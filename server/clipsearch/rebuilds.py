"""The rebuilds of one collection's index: one at a time, begun by a call or by themselves, ended early on request."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clipsearch.errors import Cancelled, RebuildRunning
from clipsearch.index.tuning import Report

logger = logging.getLogger(__name__)

REPLAY_US, WRITE_US = 5.0, 20.0
"""What a start takes to replay a row that is newer than the index, and a shutdown to write an item into one.

`python -m benchmarks.shutdown` measured 3 to 9 and 8 to 11; the second has room for a slower disk, since it decides
whether there is time."""

WORTH_S = 0.1
"""A start that replays for less than this is not worth writing an index for."""

RETRY_S = 60.0
"""How long a rebuild that failed is not tried again by itself: on a full disk every write would start one."""


def worth_writing(tail: int, living: int, seconds: float) -> bool:
    """Return whether to write an index of ``living`` items at a shutdown that has so many ``seconds`` left.

    It is where replaying the ``tail`` would hold up the next start noticeably, and where it will be done in time.
    """
    return tail * REPLAY_US >= WORTH_S * 1e6 and living * WRITE_US <= seconds * 1e6


class Rebuilds:
    """Thread-safe."""

    def __init__(self, collection: str, rebuild: Callable[[], object]) -> None:
        """``rebuild`` builds the index of the collection of this name, inside ``alone``."""
        self._collection = collection
        self._rebuild = rebuild
        self._running = threading.Lock()
        self._stopped = threading.Event()
        self._retry_at = 0.0

    def begin(self, reason: str) -> None:
        """Start one in the background, unless one runs, one has just failed, or ``stop`` was called."""
        if self._running.locked() or self._stopped.is_set() or time.monotonic() < self._retry_at:
            return
        logger.info("collection %s: rebuilding the index (%s)", self._collection, reason)
        thread = threading.Thread(target=self._quietly, name=f"rebuild-{self._collection}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had; the next write asks again
            logger.error("collection %s: the rebuild could not start: %s", self._collection, error)

    def _quietly(self) -> None:
        try:
            self._rebuild()
        except (RebuildRunning, Cancelled):
            return
        except Exception:  # a full disk, most likely; everything is found without a new index too
            self._retry_at = time.monotonic() + RETRY_S
            logger.exception("collection %s: the rebuild failed; not tried again for %g s", self._collection, RETRY_S)

    @property
    def running(self) -> bool:
        """Whether an index is being built now."""
        return self._running.locked()

    def check_none_runs(self) -> None:
        """Raise RebuildRunning while the index is being built."""
        if self._running.locked():
            raise RebuildRunning(f"the index of collection {self._collection} is being built already")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Build inside this; raises RebuildRunning where somebody else does."""
        if not self._running.acquire(blocking=False):
            raise RebuildRunning(f"the index of collection {self._collection} is being built already")
        try:
            yield
        finally:
            self._running.release()

    @contextmanager
    def over(self) -> Iterator[None]:
        """Wait for the one that runs; none begins inside this."""
        with self._running:
            yield

    def stoppable(self, report: Report | None) -> Report:
        """Return what a build reports to: passed on, and raising Cancelled after ``stop``."""

        def step(stage: str, done: int, total: int) -> None:
            if self._stopped.is_set():
                raise Cancelled("the collection is being closed")
            if report is not None:
                report(stage, done, total)

        return step

    def last(self, build: Callable[[Report], object], seconds: float) -> None:
        """After ``stop``: wait for the one that runs, then build once more, in so many seconds with the waiting.

        ``build`` is given what to report to, which raises Cancelled when the time is over. What it raises is logged.
        """
        end = time.monotonic() + seconds

        def step(stage: str, done: int, total: int) -> None:
            if time.monotonic() >= end:
                raise Cancelled("the time for it is over")

        failed = f"collection {self._collection}: no index written for the next start"
        if not self._running.acquire(timeout=max(0.0, seconds)):
            logger.warning("%s: a rebuild did not end in time", failed)
            return
        try:
            build(step)
        except Cancelled as error:
            logger.warning("%s: %s", failed, error.message)
        except Exception:  # a full disk, most likely; the next start has more to replay, and no more than that
            logger.exception(failed)
        finally:
            self._running.release()

    def stop(self) -> None:
        """Have the one that runs end at its next step, and start no other."""
        self._stopped.set()
