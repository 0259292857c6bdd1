"""Streams in which everything is done at once, but for what is captured to be done again."""

import ctypes
from collections.abc import Callable
from types import TracebackType

Launch = Callable[[], object]


class Captured:
    """Launches that were recorded."""

    def __init__(self, launches: list[Launch]) -> None:
        assert launches, "nothing was captured"
        self._launches = launches

    def launch(self, stream: "Stream") -> None:
        """Do them all again."""
        del stream
        for one in self._launches:
            one()


class Stream:
    """A stream; of a capture there is one at a time in all of the process."""

    _recorded: list[Launch] | None = None

    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking, "a stream that waits for the default one and lets it wait"
        self.ptr = id(self)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def synchronize(self) -> None:
        """Everything is done already."""

    def begin_capture(self, mode: int) -> None:
        """Record what comes instead of doing it."""
        del mode
        assert Stream._recorded is None, "one capture at a time"
        Stream._recorded = []

    def end_capture(self) -> Captured:
        """Return what was recorded."""
        recorded, Stream._recorded = Stream._recorded, None
        assert recorded is not None
        return Captured(recorded)


class Event:
    """A point in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        del block, disable_timing

    def record(self, stream: Stream) -> None:
        """Everything before it is done already."""

    def synchronize(self) -> None:
        """Likewise."""


def launch(one: Launch) -> None:
    """Do something, or record it."""
    if Stream._recorded is None:
        one()
    else:
        Stream._recorded.append(one)


def copy(to: int, source: int, size: int, kind: int, stream: int) -> None:
    """As the runtime's memcpyAsync."""
    del kind, stream
    launch(lambda: ctypes.memmove(to, source, size))
