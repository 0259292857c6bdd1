"""How much memory a process has had at most."""

import re
from pathlib import Path


def most_resident_kib() -> int:
    """Return this process's highest resident size so far, in KiB.

    Not ``getrusage``: its maximum outlives exec, so that a process which was started by a large one seems large itself.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])
