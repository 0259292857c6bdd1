"""Processor time of processes, of which some end."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clipsearch.telemetry import child_cpu
from clipsearch.telemetry.child_cpu import ChildCpu

BUSY = """
import sys, time
while time.process_time() < float(sys.argv[1]):
    pass
print("done", flush=True)
sys.stdin.read()
"""


@contextmanager
def busy(seconds: float) -> Iterator[int]:
    """Give the id of a process that has had so much processor time, and waits."""
    command = [sys.executable, "-c", BUSY, str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        yield process.pid


def test_what_processes_took_is_added_up_and_kept_when_they_end() -> None:
    pids: list[int] = []
    cpu = ChildCpu(lambda: pids)
    assert cpu.read() == 0.0
    with busy(0.2) as first, busy(0.1) as second:
        pids += [first, second]
        both = cpu.read()
        assert both is not None
        assert 0.25 < both < 10
        pids.remove(first)
        assert cpu.read() == both, "one is replaced"
    assert cpu.read() == both, "one died unnoticed"
    with busy(0.1) as third:
        pids[:] = [third]
        more = cpu.read()
        assert more is not None
        assert more > both + 0.05


def test_a_number_that_is_given_again_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([5.0, 2.0, 3.0])
    monkeypatch.setattr(child_cpu, "_cpu_s", lambda _: next(took))
    cpu = ChildCpu(lambda: [7])
    assert [cpu.read() for _ in range(3)] == [5.0, 7.0, 8.0]


def test_without_proc_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(child_cpu, "_PROC", tmp_path / "none")
    assert ChildCpu(lambda: [1]).read() is None
