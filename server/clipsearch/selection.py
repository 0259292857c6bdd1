"""Which positions of an index a search may return, in the forms in which the indexes want to be told.

A filter selects positions and stays; tombstones take some away from it with every write. So a selection is a *root*
that is worked out once, and possibly a few positions excluded from it: what an index derives from the root (vectors
gathered, rows counted per list) outlives the writes, and only the small rest is worked out again.
"""

from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Bits = NDArray[np.uint8]
Mask = NDArray[np.bool_]

T = TypeVar("T")


class Selection:
    """An immutable set of positions out of ``size``; any thread may use it.

    ``count`` are in it. ``bits`` uint8 [ceil(size / 8)] holds position p in bit ``p % 8`` (the lowest is 0) of byte
    ``p // 8``. ``root`` is the selection that ``excluded``, int64 positions, were taken from: itself where none were.
    """

    __slots__ = ("__weakref__", "_derived", "bits", "count", "excluded", "root", "size")

    def __init__(self, size: int, bits: Bits, count: int) -> None:
        """Take packed bits as described above; unused bits of the last byte must be 0."""
        self.size, self.bits, self.count = size, bits, count
        self.root = self
        self.excluded: Positions = np.empty(0, dtype=np.int64)
        self._derived: dict[str, Any] = {}

    @classmethod
    def everything(cls, size: int) -> Self:
        """Return the selection of all positions."""
        return cls(size, np.packbits(np.ones(size, dtype=np.bool_), bitorder="little"), size)

    @classmethod
    def of(cls, size: int, positions: Positions) -> Self:
        """Return the selection of ``positions``, distinct int64 in 0 … size - 1."""
        mask = np.zeros(size, dtype=np.bool_)
        mask[positions] = True
        return cls(size, np.packbits(mask, bitorder="little"), len(positions))

    @property
    def mask(self) -> Mask:
        """Return bool [size], made anew: about 0.1 ms for a million."""
        mask: Mask = np.unpackbits(self.bits, count=self.size, bitorder="little").view(np.bool_)
        return mask

    @property
    def positions(self) -> Positions:
        """Return the positions, int64 [count] ascending, made anew."""
        return np.flatnonzero(self.mask)

    def contains(self, positions: Positions) -> Mask:
        """Return for each of some positions in 0 … size - 1 whether it is selected."""
        inside: Mask = ((self.bits[positions >> 3] >> (positions & 7).astype(np.uint8)) & 1).view(np.bool_)
        return inside

    def without(self, positions: Positions) -> "Selection":
        """Return this selection less ``positions``, distinct and all selected."""
        bits = self.bits.copy()
        # Two positions may share a byte, so plain indexing would lose one of them.
        np.bitwise_and.at(bits, positions >> 3, ~(np.uint8(1) << (positions & 7).astype(np.uint8)))
        return self._less(bits, positions)

    def restricted(self, other: "Selection") -> "Selection":
        """Return this selection less what ``other`` excludes from a root that selects everything."""
        positions = other.excluded[self.contains(other.excluded)]
        return self._less(self.bits & other.bits, positions) if len(positions) else self

    def part(self, start: int, stop: int) -> "Selection":
        """Return what is selected of the positions ``start`` … ``stop - 1``, counted from ``start``, remembered.

        ``start`` is a multiple of 8, and ``stop`` is too or is ``size``.
        """
        return self.derive(f"{start} to {stop}", lambda: self._part(start, stop))

    def _part(self, start: int, stop: int) -> "Selection":
        bits = self.bits[start >> 3 : -(-stop // 8)]
        if self is self.root:
            return Selection(stop - start, bits, int(np.bitwise_count(bits).sum()))
        excluded = self.excluded[(self.excluded >= start) & (self.excluded < stop)]
        root = self.root.part(start, stop)
        return root._less(bits, excluded - start) if len(excluded) else root

    def _less(self, bits: Bits, positions: Positions) -> "Selection":
        less = Selection(self.size, bits, self.count - len(positions))
        less.root, less.excluded = self.root, np.concatenate([self.excluded, positions])
        return less

    def derive(self, name: str, make: Callable[[], T]) -> T:
        """Return what ``make`` gave the first time that ``name`` was asked for.

        An index keeps its own forms of a selection here: a selection belongs to one index. Threads that ask at once
        may each make one, which must do no harm.
        """
        found: T | None = self._derived.get(name)
        if found is None:
            found = self._derived[name] = make()
        return found
