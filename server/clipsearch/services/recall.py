"""Recall as a live number: a small share of the live queries is searched again, exactly, in the background.

The recall that an index was tuned to is that of held-out queries on the day it was built; what callers really ask, of
what the catalogue has become, is told by this one. It costs the given share of queries a full scan each, on one thread
with nobody waiting; where those come faster than they are scanned, they are passed over and not queued without bound.
"""

import logging
import queue
import threading
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.allowed import AllowedRows
from clipsearch.index.view import View
from clipsearch.ports import Vectors

logger = logging.getLogger(__name__)

K = 10
WAITING = 16

SAME_SCORE = 1e-6
"""Cosines closer than this are equal: which of two equal vectors is found is no loss."""


class QueryKind(Enum):
    """What a query was made of. Texts lie apart from pictures in CLIP's space, so their recall is a number apart."""

    TEXT = "text"
    IMAGE = "image"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Sample:
    """A query that was answered: float32 [dimension], and the best scores it got, float32 [<= K] descending."""

    collection: str
    kind: QueryKind
    view: View
    query: NDArray[np.float32]
    scores: NDArray[np.float32]
    k: int
    allowed: AllowedRows | None


@dataclass(slots=True)
class LiveRecall:
    """Recall@10 over ``queries`` live queries of one kind: of ``wanted`` exact neighbours ``found`` were."""

    queries: int = 0
    wanted: int = 0
    found: int = 0

    @property
    def recall(self) -> float:
        """The share that was found, from 0 to 1."""
        return self.found / self.wanted if self.wanted else 1.0


class RecallMonitor:
    """Takes samples from any thread and measures them on one of its own."""

    def __init__(self, share: float) -> None:
        """``share`` of the queries, from 0 (none) to 1, is measured."""
        self._share = share
        self._owed = 0.0
        self._lock = threading.Lock()
        self._measured: defaultdict[tuple[str, QueryKind], LiveRecall] = defaultdict(LiveRecall)
        self._waiting: queue.Queue[Sample | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="recall", daemon=True)
        if share > 0.0:
            self._thread.start()

    def is_due(self, queries: int) -> bool:
        """Whether one of this many more queries is to be measured."""
        if self._share <= 0.0:
            return False
        with self._lock:
            self._owed += self._share * queries
            if self._owed < 1.0:
                return False
            self._owed %= 1.0
            return True

    def offer(self, sample: Sample) -> None:
        """Measure a sample, or pass it over where too many wait."""
        try:
            self._waiting.put_nowait(sample)
        except queue.Full:
            logger.debug("a recall sample was passed over: %d wait", WAITING)

    def measured(self, collection: str) -> dict[QueryKind, LiveRecall]:
        """What was measured of a collection since the start, by kind of query."""
        with self._lock:
            return {
                kind: LiveRecall(one.queries, one.wanted, one.found)
                for (name, kind), one in self._measured.items()
                if name == collection
            }

    def forget(self, collection: str) -> None:
        """Drop what was measured of a collection that is gone: another may be made under its name."""
        with self._lock:
            for key in [key for key in self._measured if key[0] == collection]:
                del self._measured[key]

    def stop(self) -> None:
        """End the thread after the sample at hand."""
        if self._thread.is_alive():
            self._share = 0.0
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (sample := self._waiting.get()) is not None:
            try:
                wanted, found = measure(sample)
            except Exception:  # a measurement must never end the measuring
                logger.exception("a recall sample of collection %s could not be measured", sample.collection)
                continue
            with self._lock:
                one = self._measured[sample.collection, sample.kind]
                one.queries, one.wanted, one.found = one.queries + 1, one.wanted + wanted, one.found + found


def measure(sample: Sample) -> tuple[int, int]:
    """Search exactly in the view that the query saw; returns how many neighbours there are and how many were found.

    Counted by score: a neighbour is found where something as near was returned.
    """
    queries: Vectors = sample.query[np.newaxis]
    exact, rows = sample.view.search_exactly(queries, min(K, sample.k), sample.allowed)
    wanted = exact[0][rows[0] >= 0]
    if len(wanted) == 0:
        return 0, 0
    found = int(np.count_nonzero(sample.scores[: len(wanted)] >= wanted[-1] - SAME_SCORE))
    return len(wanted), found
