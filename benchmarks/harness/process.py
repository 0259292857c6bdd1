"""Child processes: started, watched, and always ended."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def child(
    command: Sequence[str], log: Path, grace_s: float = 15.0, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in ``log``; on leaving, ask it to stop, and after ``grace_s`` seconds make it.

    ``variables`` are set in its environment, beside ours.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **(variables or {})}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """Return a TCP port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; those that end meanwhile are left out."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its living descendants used, user and system, in steps of 10 ms."""
    total = 0.0
    for one in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its living descendants; what several share counts for each."""
    total = 0
    for one in family(pid):
        with suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total


def settle(pids: Sequence[int], limit_s: float = 10.0) -> None:
    """Wait until these processes together use less than a twentieth of a core; raises TimeoutError if they never do.

    A server goes on computing the batch whose callers have just left, and that must not slow what is measured next.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before = sum(map(cpu_s, pids))
        time.sleep(0.2)
        if sum(map(cpu_s, pids)) - before <= 0.01:
            return
    raise TimeoutError(f"processes {list(pids)} were still busy after {limit_s:g} s without work")
