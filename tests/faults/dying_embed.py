"""Embedding jobs that are killed at every file operation, one after the other, and continued.

    python -m tests.faults.dying_embed DIRECTORY SUFFIX

Each round forks a process that embeds and is killed (SIGKILL) at its n-th operation on a file of the job: opening,
renaming, removing, flushing. Another is then killed at a random one of its own, and a third may finish. Its files must
be those of a job that was never interrupted. Ends when n is past the last operation, and prints the number of rounds.
"""

import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401  once, rather than by every process

from clipsearch.embed_job import writer
from tests.unit.embed_job.support import HashEngine, embed_lines, made

EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.listdir", "shutil.rmtree"}
MOST_ROUNDS = 1000


def die_at(operation: int, directory: Path) -> None:
    """Have this process killed at one of its operations on files of the directory, counted from 1."""
    left = operation

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and arguments and str(arguments[0]).startswith(str(directory)):
            step()

    flush = os.fsync

    def counted_flush(descriptor: int) -> None:
        step()
        flush(descriptor)

    sys.addaudithook(hook)
    os.fsync = counted_flush


def embed(source: Path, out: Path, operation: int | None) -> bool:
    """Embed in a process of its own; returns whether it was killed. Raises RuntimeError where it failed otherwise."""
    child = os.fork()
    if child == 0:
        try:
            if operation is not None:
                die_at(operation, out.parent)
            embed_lines(source, out, HashEngine())
        except BaseException as error:  # noqa: BLE001  the end of the process
            print(f"operation {operation}: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, -signal.SIGKILL}:
        raise RuntimeError(f"the process ended with status {status}")
    return status != 0


def main(directory: Path, suffix: str) -> None:
    """Kill and compare, round by round."""
    # A flush for every block, and so every operation that there is in few of them.
    writer.NOTE_EVERY_S = 0.0
    source, whole, parts = directory / "lines.txt", directory / "whole", directory / "parts"
    source.write_text("".join(f"line {n}\n" if n % 5 else "\n" for n in range(1, 51)))
    whole.mkdir()
    embed(source, whole / f"x{suffix}", None)
    expected = made(whole / f"x{suffix}")
    random_operation = random.Random(suffix)
    for operation in range(1, MOST_ROUNDS):
        parts.mkdir()
        out = parts / f"x{suffix}"
        killed = embed(source, out, operation)
        if killed:
            embed(source, out, random_operation.randint(1, operation))
            embed(source, out, None)
        assert made(out) == expected, f"killed at operation {operation}: {sorted(made(out))}"
        shutil.rmtree(parts)
        if not killed:
            print(operation - 1)
            return
    raise RuntimeError("the job never came to its end")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
