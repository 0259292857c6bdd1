"""Processor time of child processes, read from the kernel: a decoder that a picture took over would lie."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

_PROC = Path("/proc")
_USER, _SYSTEM = 11, 12
"""Fields of /proc/PID/stat, counted from the one that follows the program's name."""


class ChildCpu:
    """Grows only: what a process that is gone was last seen with is kept. Used by one thread at a time."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        """``pids`` returns the processes there are just now."""
        self._pids = pids
        self._seen: dict[int, float] = {}
        self._gone = 0.0

    def read(self) -> float | None:
        """Return the seconds that all of them took; None on a system that has no /proc."""
        if not _PROC.is_dir():
            return None
        now = {pid: seconds for pid in self._pids() if (seconds := _cpu_s(pid)) is not None}
        self._gone += sum(seconds for pid, seconds in self._seen.items() if now.get(pid, -1.0) < seconds)
        self._seen = now
        return self._gone + sum(now.values())


def _cpu_s(pid: int) -> float | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):  # it has ended this very moment
        return None
    fields = stat.rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
