"""What a batch takes, learned from the batches that ran: seconds = a + b * cost.

A straight line is what an encoder's batches follow closely: ``a`` is what every run costs, ``b`` what one more token,
picture or query adds. It is fitted by least squares with decaying weights, once per batch, so that a machine that gets
slower (other work, a hotter processor, longer texts) is known after some tens of batches. A table of times per batch
size was the alternative; it needs many batches before it knows anything of sizes not seen yet.
"""

import math
from typing import Final

MEMORY: Final = 32
"""Batches that the fit remembers: each newer one takes 1/32 of the weight."""

OUTLIER: Final = 4.0
"""A batch counts for at most this many times what was predicted. One that met a pause of the machine then moves little,
and a lane that did become ten times slower is still known for it within a few batches, since predictions grow too."""

_TRUSTED: Final = 4
"""Batches after which predictions are good enough to tell outliers by."""

_SPREAD: Final = 0.02
"""Relative variance of the costs below which their line says little: with batches of one size only, nobody can tell
``a`` from ``b``, and half of the time is put down to each."""


class CostModel:
    """Seconds of a batch by its cost, a number in any one unit. Not thread-safe."""

    def __init__(self) -> None:
        self.batches = 0
        """How many were observed."""
        self._cost = self._seconds = 0.0  # decaying means
        self._variance = self._covariance = 0.0  # of the cost, and of both

    def observe(self, cost: float, seconds: float) -> None:
        """Learn from one batch; ``cost`` is positive. What is no time a batch can take is not learned from."""
        if not 0.0 <= seconds < math.inf:
            return
        if self.trusted:
            seconds = min(seconds, OUTLIER * self.predict(cost))
        self.batches += 1
        weight = 1.0 / min(self.batches, MEMORY)  # a plain mean until there is something to forget
        off_cost, off_seconds = cost - self._cost, seconds - self._seconds
        self._cost += weight * off_cost
        self._seconds += weight * off_seconds
        self._variance = (1.0 - weight) * (self._variance + weight * off_cost * off_cost)
        self._covariance = (1.0 - weight) * (self._covariance + weight * off_cost * off_seconds)

    @property
    def trusted(self) -> bool:
        """Whether enough batches were seen to refuse anybody for what it predicts."""
        return self.batches >= _TRUSTED

    def predict(self, cost: float) -> float:
        """Return the seconds that a batch of this cost would take; 0 before any was seen."""
        if self.batches == 0:
            return 0.0
        slope = self._slope()
        return max(self._seconds - slope * self._cost, 0.0) + slope * cost

    def _slope(self) -> float:
        """``b``, drawn towards half of the seconds per cost where costs hardly vary, and with neither part negative."""
        prior = _SPREAD * self._cost * self._cost
        slope = (self._covariance + prior * 0.5 * self._seconds / self._cost) / (self._variance + prior)
        return min(max(slope, 0.0), self._seconds / self._cost)


MOST_MISSED: Final = 0.005
"""Part of the accepted that may take longer than they were predicted to, once corrected. One in a hundred may
be late, and what is aimed at is missed half of the time, so half of it is aimed at."""

_STEP: Final = 0.08
_FIRST, _LEAST, _MOST = 1.5, 0.8, 2.0


class Correction:
    """By how much predictions have to be stretched for only ``MOST_MISSED`` of the accepted to be late.

    The quantile is tracked rather than computed: a prediction that turns out too short raises the factor by a step, one
    that holds lowers it by as much less as it may happen more often. It is bounded, so that no run of bad luck makes a
    lane refuse what it could do.
    """

    def __init__(self) -> None:
        self.factor = _FIRST

    def learn(self, *, held: bool) -> None:
        """Note that one prediction, stretched by the factor of that time, held, or did not."""
        step = -_STEP * MOST_MISSED if held else _STEP * (1.0 - MOST_MISSED)
        self.factor = min(max(self.factor * math.exp(step), _LEAST), _MOST)
