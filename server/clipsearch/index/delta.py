"""Vectors newer than the base index: kept in memory in the order of their rows, searched exactly.

float32, although the catalogue stores float16: FAISS scans 10,000 float16 vectors of 512 in 1.6 ms where BLAS takes 2.5
for one query, but for 64 of them in 60 ms where BLAS takes 17; and its indexes cannot grow under a search. The values
are those that float16 holds, so a vector scores the same before and after a rebuild takes it into the base.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.exact import Scores
from clipsearch.ports import Rows, Scanner, Vectors
from clipsearch.selection import Selection

Number = TypeVar("Number", bound=np.generic)

FIRST_CAPACITY = 256
"""Vectors that the buffer has room for at first; it doubles when it is full."""


@dataclass(frozen=True, eq=False)
class Delta:
    """What the buffer held at one moment: ``rows`` int64 [m] ascending, ``vectors`` float32 [m, d].

    ``alive`` selects the positions that are not tombstoned, None where all are. ``scan`` is the buffer's.
    """

    rows: Rows
    vectors: Vectors
    alive: Selection | None
    scan: Scanner

    @property
    def dead(self) -> int:
        """Return how many of the rows are tombstoned."""
        return 0 if self.alive is None else len(self.rows) - self.alive.count

    def search(self, queries: Vectors, k: int, only: Selection | None) -> tuple[Scores, Rows]:
        """Return (scores [n, k], rows [n, k]) of the best vectors in ``only`` (None: any), padded with -inf and -1.

        Not for an empty delta.
        """
        scores, found = self.scan(queries, self.vectors, k, only)
        missing = found < 0
        rows = self.rows.take(found, mode="clip")
        rows[missing] = -1
        return scores, rows


class DeltaBuffer:
    """Grows at its end; what was handed out before keeps showing what it showed. One writer."""

    def __init__(self, dimension: int, scan: Scanner) -> None:
        self._scan = scan
        self._rows: Rows = np.empty(FIRST_CAPACITY, dtype=np.int64)
        self._vectors: Vectors = np.empty((FIRST_CAPACITY, dimension), dtype=np.float32)
        self._size = 0

    def append(self, rows: Rows, vectors: NDArray[np.float16] | Vectors) -> None:
        """Add ``rows``, ascending and above all before, with ``vectors`` [m, d] (rounded to float16)."""
        end = self._size + len(rows)
        if end > len(self._rows):
            # The old arrays stay with the deltas that were handed out.
            capacity = max(end, 2 * len(self._rows))
            self._rows = _grown(self._rows, self._size, capacity)
            self._vectors = _grown(self._vectors, self._size, capacity)
        self._rows[self._size : end] = rows
        self._vectors[self._size : end] = vectors.astype(np.float16)
        self._size = end

    def delta(self, alive: Selection | None) -> Delta:
        """Return what the buffer holds now, without copying it."""
        return Delta(self._rows[: self._size], self._vectors[: self._size], alive, self._scan)


def _grown(array: NDArray[Number], used: int, capacity: int) -> NDArray[Number]:
    grown: NDArray[Number] = np.empty((capacity, *array.shape[1:]), dtype=array.dtype)
    grown[:used] = array[:used]
    return grown
