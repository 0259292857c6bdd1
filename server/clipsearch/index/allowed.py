"""The rows that a filter selects, with what each index has to know of them worked out once."""

import weakref
from dataclasses import dataclass

import numpy as np

from clipsearch.index.base import Base, positions_of
from clipsearch.index.delta import Delta
from clipsearch.ports import Rows
from clipsearch.selection import Selection


@dataclass(frozen=True, slots=True)
class _Derived:
    """A selection and what it was derived from. Weak: a filter must not keep a replaced index in memory."""

    source: "weakref.ref[Base | Delta | Selection]"
    selection: Selection


class AllowedRows:
    """An immutable set of rows that a search may return; any thread may use it.

    Keep and reuse it for as long as its filter is: the first search through it works out positions, bits and counts,
    later ones find them. Tombstones need no new one; rows that come in later do, see ``extended``.
    """

    def __init__(self, rows: Rows) -> None:
        """Take distinct rows, int64 ascending; rows that an index does not hold mean nothing to it."""
        self.rows = np.ascontiguousarray(rows, dtype=np.int64)
        if len(rows) > 1 and not (self.rows[1:] > self.rows[:-1]).all():
            raise ValueError("the rows of a filter must be ascending and distinct")
        self._base: _Derived | None = None
        self._base_alive: _Derived | None = None
        self._delta: _Derived | None = None

    def extended(self, rows: Rows) -> "AllowedRows":
        """Return the set with newer ``rows`` added, all above those that it has.

        What was worked out for a base stays valid where they are newer than it, as rows that just came in are.
        """
        more = AllowedRows(np.concatenate([self.rows, rows]))
        base = self._base
        source = None if base is None else base.source()
        if isinstance(source, Base) and len(rows) and len(source.rows) and rows[0] > source.rows[-1]:
            more._base, more._base_alive = base, self._base_alive
        return more

    def in_base(self, base: Base, alive: Selection | None) -> Selection:
        """Return the positions of ``base`` that are allowed and ``alive`` (None: all are)."""
        whole = self._base
        if whole is None or whole.source() is not base:
            positions = positions_of(base.rows, self.rows)
            whole = _Derived(weakref.ref(base), Selection.of(len(base.rows), positions[positions >= 0]))
            self._base = whole
        if alive is None:
            return whole.selection
        living = self._base_alive
        if living is None or living.source() is not alive or living.selection.root is not whole.selection:
            living = self._base_alive = _Derived(weakref.ref(alive), whole.selection.restricted(alive))
        return living.selection

    def in_delta(self, delta: Delta) -> Selection:
        """Return the positions of ``delta`` that are allowed and alive."""
        known = self._delta
        if known is None or known.source() is not delta:
            newer = self.rows[self.rows.searchsorted(delta.rows[0]) :] if len(delta.rows) else self.rows[:0]
            positions = positions_of(delta.rows, newer)
            positions = positions[positions >= 0]
            if delta.alive is not None:
                positions = positions[delta.alive.contains(positions)]
            known = self._delta = _Derived(weakref.ref(delta), Selection.of(len(delta.rows), positions))
        return known.selection
