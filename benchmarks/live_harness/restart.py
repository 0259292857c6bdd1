"""From a fresh process to the first right answer, the encoders of a server left out.

The files lie in the page cache (warm), or their pages were dropped from it first (cold; what the disk itself or a
hypervisor keeps is beyond that). A process of its own opens the data directory, see ``reopen``.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness.figures import summarise
from benchmarks.harness.report import Line, Outcome
from benchmarks.live_harness.context import Context, prepare
from benchmarks.live_harness.questions import write_questions
from benchmarks.live_harness.served import opened
from clipsearch.data import DEFAULT

SECTION = "restart"
TARGET_S = 10.0
QUESTIONS = 20


def restart(context: Context) -> Outcome:
    """Open the collection in fresh processes; raises RuntimeError where it has no index or answers wrongly."""
    vectors = prepare(context)
    with opened(context, vectors.tuning) as data:
        collection = data.collection(DEFAULT)
        if collection.stats().index is None:
            raise RuntimeError(f"{context.data} has no index that could be opened; run the section build first")
        write_questions(context.work, collection, vectors.images[:QUESTIONS])
    outcome = Outcome()
    for label, drop in (("cold", True), ("warm", False)):
        runs = []
        for _ in range(context.pace.opens):
            if drop:
                drop_from_cache(context.data)
            runs.append(_reopen(context))
        for step in runs[0]:
            target = TARGET_S if step == "first answer" else None
            values = summarise([run[step] for run in runs])
            outcome.lines.append(Line(SECTION, f"{label}: {step}", _unit(step), values, target, "lower"))
        outcome.samples[label] = runs
    return outcome


def _unit(step: str) -> str:
    return "bytes/item" if "memory" in step else "s"


def _reopen(context: Context) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.live_harness.reopen", str(context.work), str(context.n)]
    # The clock is the system's, the same in both processes.
    done = subprocess.run([*command, repr(time.monotonic())], stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def drop_from_cache(directory: Path) -> None:
    """Flush all files under a directory and ask the kernel to drop their pages, as far as no process maps them."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
