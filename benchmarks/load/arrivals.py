"""When calls are due, whoever answers when.

A generator that waits for an answer before it asks again asks a stalled server nothing, and measures the stall once
instead of for everybody who would have come meanwhile ("coordinated omission"). So arrivals are drawn beforehand, as a
Poisson process or evenly, and latencies count from when a call was due. Closed loops are there as well, for
throughput at saturation, and called so.
"""

from collections.abc import Iterator
from random import Random
from typing import Literal

Arrivals = Literal["poisson", "constant", "closed"]


def due_times(arrivals: Arrivals, rate: float, began: float, random: Random) -> Iterator[float]:
    """Yield when calls are due, in seconds on the clock of ``began``, ``rate`` a second on average, without end.

    Several independent sources add up to one of the sum of their rates: Poisson processes do exactly, and constant ones
    begin at a random part of their interval, so that they do not march in step. ValueError for closed loops, whose
    calls are due when the one before was answered.
    """
    if arrivals == "closed":
        raise ValueError("in a closed loop a call is due when the one before was answered")
    if rate <= 0.0:
        raise ValueError(f"a rate is positive, not {rate}")
    due = began + (random.random() / rate if arrivals == "constant" else random.expovariate(rate))
    while True:
        yield due
        due += 1.0 / rate if arrivals == "constant" else random.expovariate(rate)
