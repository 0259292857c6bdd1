"""Item ids by position, packed and memory-mapped: turning a hit into its id costs about a microsecond and no SQLite.

Two files: ``ids.offsets`` int64 [N + 1] and ``ids.utf8``, the ids one after the other in UTF-8.
"""

import mmap
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from clipsearch.errors import UnusableIndex

OFFSETS = "ids.offsets"
BLOB = "ids.utf8"


class PackedIds:
    """Read-only sequence of ids by position in the index."""

    def __init__(self, offsets: memoryview, blob: memoryview) -> None:
        """Take int64 offsets [N + 1] and the UTF-8 bytes; ``open_ids`` reads them from files."""
        self._offsets, self._blob = offsets, blob

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, position: int) -> str:
        if not 0 <= position < len(self._offsets) - 1:
            raise IndexError(f"position {position} is not in 0 … {len(self) - 1}")
        return str(self._blob[self._offsets[position] : self._offsets[position + 1]], "utf-8")


NO_IDS = PackedIds(memoryview(b"\0" * 8).cast("q"), memoryview(b""))
"""The ids of an index that holds nothing."""


def write_ids(directory: Path, ids: Iterable[str]) -> int:
    """Write both files into ``directory``, streaming; returns how many ids there were."""
    end, count = 0, 0
    with (directory / OFFSETS).open("wb") as offsets, (directory / BLOB).open("wb") as blob:
        offsets.write(np.int64(0).tobytes())
        for item_id in ids:
            encoded = item_id.encode("utf-8")
            end += len(encoded)
            count += 1
            blob.write(encoded)
            offsets.write(np.int64(end).tobytes())
    return count


def open_ids(directory: Path, n: int) -> PackedIds:
    """Memory-map the ids of ``n`` positions; raises UnusableIndex where the files do not agree with that."""
    offsets = _map(directory / OFFSETS).cast("q") if (directory / OFFSETS).stat().st_size % 8 == 0 else memoryview(b"")
    blob = _map(directory / BLOB)
    if len(offsets) != n + 1 or offsets[0] != 0 or offsets[n] != len(blob):
        raise UnusableIndex(f"{directory / OFFSETS} does not describe {n} ids; build the index again")
    return PackedIds(offsets, blob)


def _map(path: Path) -> memoryview:
    # A memoryview slices without the per-call cost of a numpy array; an empty file cannot be mapped.
    if path.stat().st_size == 0:
        return memoryview(b"")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
