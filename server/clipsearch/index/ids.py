"""Item ids by position, packed and memory-mapped: turning a hit into its id costs about a microsecond and no SQLite.

Two files: ``ids.utf8``, the ids one after the other in UTF-8, and ``ids.offsets`` [N + 1], where each begins: uint32
where that reaches, as it does up to 4 GiB of ids, else int64. Its size tells which.
"""

import mmap
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from clipsearch.errors import UnusableIndex

OFFSETS = "ids.offsets"
BLOB = "ids.utf8"

_WIDE: dict[int, Literal["I", "q"]] = {4: "I", 8: "q"}
"""How a memoryview is told to read offsets of so many bytes."""


class PackedIds:
    """Read-only sequence of ids by position in the index."""

    def __init__(self, offsets: memoryview, blob: memoryview) -> None:
        """Take integer offsets [N + 1] and the UTF-8 bytes; ``open_ids`` reads them from files."""
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
    """Write both files into ``directory``, streaming the ids; returns how many there were."""
    ends = array("q", [0])
    with (directory / BLOB).open("wb") as blob:
        for item_id in ids:
            ends.append(ends[-1] + blob.write(item_id.encode("utf-8")))
    offsets = np.frombuffer(ends, dtype=np.int64)
    offsets.astype(np.uint32 if offsets[-1] < 2**32 else np.int64).tofile(directory / OFFSETS)
    return len(ends) - 1


def open_ids(directory: Path, n: int) -> PackedIds:
    """Memory-map the ids of ``n`` positions; raises UnusableIndex where the files do not agree with that."""
    raw, blob = _map(directory / OFFSETS), _map(directory / BLOB)
    width, rest = divmod(len(raw), n + 1)
    offsets = raw.cast(_WIDE[width]) if width in _WIDE and rest == 0 else None
    if offsets is None or offsets[0] != 0 or offsets[n] != len(blob):
        raise UnusableIndex(f"{directory / OFFSETS} does not describe {n} ids; build the index again")
    return PackedIds(offsets, blob)


def _map(path: Path) -> memoryview:
    # A memoryview slices without the per-call cost of a numpy array; an empty file cannot be mapped.
    if path.stat().st_size == 0:
        return memoryview(b"")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
