"""Memory that is used no more."""

import subprocess
import sys

PROGRAM = """
import sys, threading, numpy as np, re
from clipsearch.garbage import keep_large_blocks_apart

def resident_mib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

if sys.argv[1] == "apart":
    keep_large_blocks_apart()
small = []

def rebuild():
    # As a rebuild does: a large block is freed, and those after it come with small ones between them that stay.
    np.ones(30 << 20, np.uint8)
    large = []
    for _ in range(12):
        large.append(np.ones(8 << 20, np.uint8))
        small.append(np.ones(1000, np.uint8))

before = resident_mib()
for _ in range(3):
    thread = threading.Thread(target=rebuild)
    thread.start()
    thread.join()
print(resident_mib() - before)
"""


def left_mib(how: str) -> float:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_large_blocks_leave_nothing_behind() -> None:
    assert left_mib("apart") < 5
    assert left_mib("as glibc has it") > 10, "else there is nothing to mend any more"
