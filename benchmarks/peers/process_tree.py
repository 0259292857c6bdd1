"""A server and all the processes that it started: their CPU, their memory, and their end."""

import resource
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.harness.process import child, cpu_s, family

SAMPLE_S = 0.5


def tree_bytes(pid: int) -> int:
    """Return the memory of a tree, what several processes share counted once (proportional set size)."""
    total = 0
    for one in family(pid):
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return total


def calm_down(pid: int, limit_s: float = 15.0) -> bool:
    """Wait until a tree uses less than half a core; returns whether it did within the limit.

    A server goes on computing what was asked by callers that have left; a few use some CPU even when nothing is asked.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before = cpu_s(pid)
        time.sleep(0.2)
        if cpu_s(pid) - before < 0.1:
            return True
    return False


def others_cpu_s(pid: int) -> float:
    """Return the CPU seconds of all the machine beside a tree, this process and its ended children, since it booted.

    Only differences mean something: of other work in a time that all of the tree's processes outlive.
    """
    machine = psutil.cpu_times()
    own = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ours = sum(one.ru_utime + one.ru_stime for one in own) + cpu_s(pid)
    return float(machine.user + machine.nice + machine.system) - ours


class Bystanders:
    """Counts the cores that other work takes until the context ends: what a comparison is to be read with."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.cores = 0.0

    def __enter__(self) -> Self:
        self._began, self._before = time.monotonic(), others_cpu_s(self._pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cores = max(0.0, others_cpu_s(self._pid) - self._before) / (time.monotonic() - self._began)


class PeakMemory:
    """Samples a tree's memory twice a second until the context ends; ``bytes`` is the most that was seen."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, tree_bytes(self._pid))
            if self._ended.wait(SAMPLE_S):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def running(command: Sequence[str], log: Path, variables: Mapping[str, str]) -> Iterator["psutil.Popen"]:
    """Run a server as ``child`` does; what it leaves behind when it ends is killed."""
    left: list[psutil.Process] = []
    try:
        with child(command, log, grace_s=5.0, variables=variables) as process:
            try:
                yield process
            finally:
                left = family(process.pid)
    finally:
        for one in left:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=5.0)
