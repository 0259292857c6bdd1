"""How often a key may be used: a token bucket."""

from dataclasses import dataclass

from clipsearch.ports import Clock


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second on average, and how many at once after a pause. Both at least one thousandth and one."""

    per_s: float
    burst: float

    def __post_init__(self) -> None:
        """Raise ValueError for a rate under which no call would ever pass."""
        if not 1e-3 <= self.per_s <= 1e9 or not 1.0 <= self.burst <= 1e9:
            raise ValueError(f"a rate must be 0.001 calls a second or more and its burst 1 or more, not {self}")


class TokenBucket:
    """Holds up to ``rate.burst`` tokens and gains ``rate.per_s`` a second; a call takes one.

    On a monotonic clock, so that setting the time of day gives or takes nothing. Not for several threads.
    """

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._tokens = rate.burst
        self._at = clock()

    def take(self) -> float:
        """Take a token and return 0.0; or, where there is none, take nothing and return the seconds until there is."""
        tokens = self._refill()
        if tokens < 1.0:
            return (1.0 - tokens) / self.rate.per_s
        self._tokens = tokens - 1.0
        return 0.0

    def reserve(self) -> float:
        """Take a token in any case, of those to come if need be, and return the seconds to wait before using it.

        For those who wait rather than being refused: each waits behind the one before.
        """
        self._tokens = self._refill() - 1.0
        return max(0.0, -self._tokens / self.rate.per_s)

    def _refill(self) -> float:
        now = self._clock()
        self._tokens = min(self.rate.burst, self._tokens + (now - self._at) * self.rate.per_s)
        self._at = now
        return self._tokens
