"""The event loop that a server runs on: libuv's where it is to be had, as it takes less of each call than Python's own.

What it saves is in docs/decisions/0008-event-loop.md.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from clipsearch.errors import ConfigError

EventLoopKind = Literal["auto", "uvloop", "asyncio"]


def loop_factory(kind: EventLoopKind) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops of a kind; "auto" is uvloop where that is installed. Raises ConfigError."""
    if kind == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if kind == "auto":
            return asyncio.new_event_loop
        raise ConfigError(
            "the event loop is to be uvloop, which is not installed; Windows has none"
        ) from None
    return uvloop.new_event_loop
