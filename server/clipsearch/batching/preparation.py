"""When pictures would be decoded: work on threads before the lane, item by item, learned as batches are.

A picture's cost is its size in bytes. Pixels would tell more, but are known only once its header was read, and whoever
is refused should cost nothing.
"""

from collections.abc import Sequence

from clipsearch.batching.cost import CostModel


class Preparation:
    """What ``threads`` threads have to prepare. Used on the event loop only."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._model = CostModel()
        self._pending_s = 0.0

    def finish_s(self, sizes: Sequence[int]) -> float:
        """Return the seconds until inputs of these sizes, in bytes, would all be ready; 0 while nothing is known."""
        own = [self._model.predict(size) for size in sizes]
        return self._pending_s / self._threads + max(sum(own) / self._threads, max(own, default=0.0))

    def begin(self, size: int) -> float:
        """Note an input that is given to the threads; returns what to give to ``end``, always."""
        expected_s = self._model.predict(size)
        self._pending_s += expected_s
        return expected_s

    def end(self, expected_s: float) -> None:
        """Note that no thread has to do with it any more, or ever will."""
        self._pending_s = max(0.0, self._pending_s - expected_s)

    def took(self, size: int, seconds: float) -> None:
        """Learn from an input that became ready."""
        self._model.observe(max(1, size), seconds)
