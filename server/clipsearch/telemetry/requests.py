"""The request id: a caller's own, or one made here, known to everything that runs for the request.

It sits in a context variable, so whatever a request's task logs finds it, and a lane keeps the context of each item for
what its worker logs. One that nobody asks for costs a counter's step.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar

HEADER = "x-request-id"
"""The metadata key it comes in and goes back in."""

# Anything else could forge log lines or terminal escapes.
_USABLE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def id_maker() -> Callable[[], str]:
    """Return a maker of ids that no two processes share: eight random digits, then a count."""
    prefix, count = os.urandom(4).hex(), itertools.count(1)
    return lambda: f"{prefix}-{next(count):06x}"


def given_id(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Return the caller's request id; None where there is none that is printable and at most 128 characters long."""
    for key, value in metadata:
        if key == HEADER:
            return value if isinstance(value, str) and _USABLE.fullmatch(value) else None
    return None


def enter(request_id: str) -> None:
    """Name the request that this task works for, until the task ends."""
    _current.set(request_id)


def current_id() -> str:
    """Return the id of the request at hand; empty outside of any."""
    return _current.get()
