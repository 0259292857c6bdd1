"""The rows that filters let through, in the form that an index searches with."""

import threading
from collections import OrderedDict

import numpy as np

from clipsearch.catalogue.filters.compile import CompiledFilter
from clipsearch.catalogue.filters.rowsets import Query, RowSets
from clipsearch.index.allowed import AllowedRows

FILTERS_KEPT = 256
ROW_SET_BYTES_KEPT = 64 * 2**20
ALLOWED_BYTES_KEPT = 256 * 2**20
"""Of rows and the positions that an index works out for them, which are as many again; the newest is always kept."""


class FilterCache:
    """What each filter lets through, extended by the rows that came since. Thread-safe."""

    def __init__(self, matching: Query) -> None:
        """``matching`` reads the catalogue, see ``RowSets``."""
        self._sets = RowSets(matching, max_sets=FILTERS_KEPT, max_bytes=ROW_SET_BYTES_KEPT)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[int, AllowedRows]] = OrderedDict()
        self._bytes = 0

    def allowed(self, condition: CompiledFilter, end: int) -> AllowedRows:
        """Return what the filter lets through of all rows below ``end``, which must be committed.

        There may be later rows among them. Reads the disk for rows that this filter has not seen yet.
        """
        with self._lock:
            known_end, known = self._known.get(condition.text, (0, None))
            if known is not None:
                self._known.move_to_end(condition.text)
        if known is not None and known_end >= end:
            return known
        rows = self._sets.rows(condition, end)
        newer = rows[np.searchsorted(rows, known_end) :]
        if known is None or len(newer):
            allowed = AllowedRows(rows) if known is None else known.extended(newer)
        else:
            allowed = known  # the very same: what an index worked out for it stays
        with self._lock:
            self._keep(condition.text, end, allowed)
        return allowed

    def _keep(self, text: str, end: int, allowed: AllowedRows) -> None:
        old_end, old = self._known.get(text, (-1, None))
        if old_end >= end:
            return  # another thread knows more by now
        self._bytes += _cost(allowed) - (0 if old is None else _cost(old))
        self._known[text] = (end, allowed)
        self._known.move_to_end(text)
        while len(self._known) > 1 and (len(self._known) > FILTERS_KEPT or self._bytes > ALLOWED_BYTES_KEPT):
            _, (_, dropped) = self._known.popitem(last=False)
            self._bytes -= _cost(dropped)


def _cost(allowed: AllowedRows) -> int:
    return 2 * allowed.rows.nbytes
