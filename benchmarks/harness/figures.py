"""Medians with their spread, ratios of runs that took turns, and the slope of a series."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Median, smallest and largest of ``count`` samples, in the samples' unit."""

    median: float
    low: float
    high: float
    count: int


def summarise(samples: Sequence[float]) -> Summary:
    """Summarise at least one sample; raises ValueError for none."""
    if not samples:
        raise ValueError("there are no samples to summarise")
    return Summary(statistics.median(samples), min(samples), max(samples), len(samples))


def once(value: float, count: int = 1) -> Summary:
    """Return what was found once: measured once, or worked out of ``count`` samples that are no spread of it."""
    return Summary(value, value, value, count)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divide round by round, so that what slowed a whole round down cancels; raises ValueError where lengths differ."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the sample that ``share`` (0 to 1) of the samples do not exceed: nearest rank, never interpolated."""
    if not samples or not 0.0 <= share <= 1.0:
        raise ValueError("a percentile needs samples and a share from 0 to 1")
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the least-squares slope of ys over xs, in units of y per unit of x; raises StatisticsError below two."""
    return statistics.linear_regression(xs, ys).slope


def harmonic_rate(seconds_per_item: Sequence[float], shares: Sequence[float]) -> float:
    """Return items per second of a mix: kinds that take ``seconds_per_item``, in proportions ``shares`` (any scale)."""
    total = sum(shares)
    if total <= 0.0:
        raise ValueError("a mix needs a positive share")
    return total / sum(share * cost for share, cost in zip(shares, seconds_per_item, strict=True))
