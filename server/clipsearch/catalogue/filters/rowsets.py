"""The rows that filters let through, kept and brought up to date instead of being computed again.

Rows are immutable and their numbers only grow (decision 5), so what a filter said about the rows below some number
stays true for ever: a cached set is extended by the rows that came since, and never invalidated. Deleted rows are not
left out here; a row's death does not change what its metadata says.

Two locks, held for different times. The cache's guards the table of sets and is held for a few operations on it. Each
set has one of its own, held while SQLite scans, so that of several searches with the same new filter one scans and the
others wait for it, while searches with other filters pass.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.filters.compile import CompiledFilter, SqlValue

Query: TypeAlias = Callable[[str, tuple[SqlValue, ...], int, int], Iterable[int]]
"""Returns, ascending, the rows from the first number to before the second that fulfil an SQL condition with its
parameters; called from any thread, several at a time."""

_OVERHEAD_BYTES = 1024
"""About what a set costs beside its rows."""


@dataclass(frozen=True, slots=True)
class _RowSet:
    """The matching rows below ``end``, as int64 or as one bit a row, whichever is smaller."""

    end: int
    stored: NDArray[np.int64] | NDArray[np.uint8]

    @staticmethod
    def of(rows: NDArray[np.int64], end: int) -> "_RowSet":
        if rows.nbytes * 8 <= end:
            return _RowSet(end, rows)
        bits = np.zeros(end, dtype=np.bool_)
        bits[rows] = True
        return _RowSet(end, np.packbits(bits))

    def rows(self, end: int) -> NDArray[np.int64]:
        """The rows below ``end``, which is at most ``self.end``; read-only."""
        if self.stored.dtype == np.uint8:
            bits = np.unpackbits(cast("NDArray[np.uint8]", self.stored), count=end)
            # Viewed as booleans, for which numpy finds the nonzero ones in a fraction of the time.
            rows = np.flatnonzero(bits.view(np.bool_)).astype(np.int64, copy=False)
        else:
            stored = cast("NDArray[np.int64]", self.stored)
            rows = stored[: np.searchsorted(stored, end)]
        rows.flags.writeable = False
        return rows

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes


_EMPTY = _RowSet(0, np.empty(0, dtype=np.int64))


@dataclass(slots=True)
class _Slot:
    """Where a filter's set is replaced by newer ones; ``scanning`` is held by the one thread that makes the next."""

    scanning: threading.Lock = field(default_factory=threading.Lock)
    known: _RowSet = _EMPTY
    charged: int = 0


class RowSets:
    """An LRU cache of the row sets of compiled filters; thread-safe."""

    def __init__(self, query: Query, *, max_sets: int, max_bytes: int) -> None:
        """``query`` reads the catalogue; at most ``max_sets`` sets and ``max_bytes`` bytes of them are kept.

        A set that is larger than ``max_bytes`` alone is answered but not kept.
        """
        self._query = query
        self._max_sets = max_sets
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._bytes = 0

    def rows(self, compiled: CompiledFilter, up_to_row: int) -> NDArray[np.int64]:
        """Return the rows below ``up_to_row`` that the filter lets through: int64 [n], ascending, read-only.

        Deleted rows are among them. All rows below ``up_to_row`` must be committed and visible to ``query``; what
        ``query`` raises comes out here, and the next caller tries again.
        """
        slot = self._slot(compiled.text)
        known = slot.known
        if known.end < up_to_row:
            with slot.scanning:
                known = slot.known
                if known.end < up_to_row:
                    known = slot.known = self._extended(known, compiled, up_to_row)
            self._charge(compiled.text, slot)
        return known.rows(up_to_row)

    def __len__(self) -> int:
        """The number of sets that are kept."""
        with self._lock:
            return len(self._slots)

    @property
    def nbytes(self) -> int:
        """The bytes that the kept sets are charged with."""
        with self._lock:
            return self._bytes

    def _slot(self, text: str) -> _Slot:
        with self._lock:
            slot = self._slots.get(text)
            if slot is None:
                slot = self._slots[text] = _Slot()
                self._drop_surplus()
            else:
                self._slots.move_to_end(text)
            return slot

    def _extended(self, known: _RowSet, compiled: CompiledFilter, end: int) -> _RowSet:
        found = np.fromiter(self._query(compiled.sql, compiled.parameters, known.end, end), dtype=np.int64)
        return _RowSet.of(np.concatenate([known.rows(known.end), found]), end)

    def _charge(self, text: str, slot: _Slot) -> None:
        """Count a set's bytes as they are now."""
        with self._lock:
            # It may have been dropped while it was scanned; then nobody will find it, and it costs nothing.
            if self._slots.get(text) is slot:
                cost = _OVERHEAD_BYTES + len(text) + slot.known.nbytes
                self._bytes += cost - slot.charged
                slot.charged = cost
                self._drop_surplus()

    def _drop_surplus(self) -> None:
        while self._slots and (len(self._slots) > self._max_sets or self._bytes > self._max_bytes):
            _, dropped = self._slots.popitem(last=False)
            self._bytes -= dropped.charged
