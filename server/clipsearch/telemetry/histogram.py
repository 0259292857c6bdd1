"""Counts in buckets, as Prometheus takes them, without an object or a lookup per observation."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Buckets:
    """What was counted up to each bound, cumulative and the last of them all, and the sum of all values."""

    cumulative: list[int]
    total: float


class Histogram:
    """Values counted by the smallest bound that is not below them. Thread-safe."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take ascending upper bounds; what is above the last is counted beyond it."""
        self.bounds = tuple(bounds)
        self._lock = threading.Lock()
        self._counts = [0] * (len(self.bounds) + 1)
        self._total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count one value, so many times."""
        place = bisect_left(self.bounds, value)
        with self._lock:
            self._counts[place] += times
            self._total += value * times

    def observe_all(self, values: Iterable[float]) -> None:
        """Count several values under one lock."""
        bounds, counts = self.bounds, self._counts
        with self._lock:
            for value in values:
                counts[bisect_left(bounds, value)] += 1
                self._total += value

    def read(self) -> Buckets:
        """Return the state at one moment."""
        with self._lock:
            counts, total = list(self._counts), self._total
        for i in range(1, len(counts)):
            counts[i] += counts[i - 1]
        return Buckets(counts, total)


def merged(several: Sequence[Histogram]) -> Buckets:
    """Add up histograms of the same bounds; raises ValueError where they differ."""
    if len({one.bounds for one in several}) != 1:
        raise ValueError("only histograms of the same bounds can be added up")
    read = [one.read() for one in several]
    cumulative = [sum(counts) for counts in zip(*(one.cumulative for one in read), strict=True)]
    return Buckets(cumulative, sum(one.total for one in read))
