"""When to try again."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0
LONGEST_RETRY_AFTER_S = 30.0
"""A server that asks for a longer pause than this is not waited for."""


def wait_before(attempt: int, retry_after_s: float | None, jitter: random.Random) -> float | None:
    """Return the seconds to wait before retry ``attempt`` (1 is the first), or None to give up.

    Exponential back-off with full jitter, so that the many fetches that one hiccup has failed do not come back
    together; where the server has said how long, a little longer than that.
    """
    if retry_after_s is None:
        return jitter.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (attempt - 1)))
    if retry_after_s > LONGEST_RETRY_AFTER_S:
        return None
    return retry_after_s + jitter.uniform(0, FIRST_WAIT_S)


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, by number or by date; None where it is neither."""
    if header is None:
        return None
    header = header.strip()
    if header.isascii() and header.isdecimal():
        return float(header[:10])
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
