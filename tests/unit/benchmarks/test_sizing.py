"""What the sizing benchmark reads of a process."""

import subprocess
import sys

from benchmarks.sizing import memory

HELD = 2**26
PROGRAM = f"""
import numpy
print("begun", flush=True)
input()
held = numpy.ones({HELD // 8})
print("held", flush=True)
input()
"""


def test_own_memory_grows_by_what_is_allocated() -> None:
    """Of a process that does nothing else: this one may give back at any time what other tests left."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        before = memory(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "held\n"
        grown = memory(process.pid)["own_bytes"] - before["own_bytes"]
        process.stdin.close()
        process.kill()
    assert abs(grown - HELD) < 2**21
    assert before["mapped_bytes"] > 2**20
