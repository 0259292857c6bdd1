"""Waiting for what another thread is about to do."""

import threading
from collections.abc import Callable

LIMIT_S = 60.0


def eventually(holds: Callable[[], bool]) -> None:
    """Return when it holds; fails where it does not in a minute."""
    tick, left = threading.Event(), int(LIMIT_S / 0.005)
    while not holds():
        left -= 1
        assert left, "it never came to hold"
        tick.wait(0.005)
