"""The pictures of a directory tree, sorted, however many there are: names are sorted in runs on disk, not in memory."""

import heapq
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from clipsearch.services.build_pictures import walk_pictures

RUN = 250_000
"""Names sorted in memory at a time, some thirty megabytes."""

_END = b"\0"
"""No file name holds it."""


class Listing:
    """The relative paths of all pictures under ``root``, sorted by their bytes, in a file under ``scratch``."""

    def __init__(self, root: Path, scratch: Path, run: int = RUN) -> None:
        """List the tree. Raises OSError for a directory that can't be read: leaving it out would go unnoticed."""
        self._path = scratch / "listing"
        self.count = 0
        names = (os.fsencode(name) for name in walk_pictures(root, _refuse))
        runs: list[Path] = []
        while some := sorted(islice(names, run)):
            runs.append(scratch / f"listing-{len(runs)}")
            self.count += len(some)
            _write(runs[-1], some)
        with ExitStack() as stack:
            _write(self._path, heapq.merge(*(_read(stack.enter_context(path.open("rb"))) for path in runs)))
        for path in runs:
            path.unlink()

    def __iter__(self) -> Iterator[str]:
        """Yield the paths, with forward slashes."""
        with self._path.open("rb") as file:
            for name in _read(file):
                yield os.fsdecode(name)


def _refuse(error: OSError) -> None:
    raise error


def _write(path: Path, names: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for name in names:
            file.write(name + _END)


def _read(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := file.read(1 << 16):
        *names, rest = (rest + block).split(_END)
        yield from names
