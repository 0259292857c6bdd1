"""The index that follows the catalogue: a base built at some moment, a delta for what came since, tombstones.

Every write makes a new view and publishes it by one assignment, so a search takes all of a write or nothing of it, and
takes no lock. What a view refers to is never changed: the delta's buffer only grows behind the end that a view knows,
and tombstones are copied on write, one bit per position (125 kB for a million).

The alternative, to add to and remove from the FAISS index in place, would need a lock around every search, has no
re-rank vectors to go with it, and does not exist on a GPU.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import UnusableIndex, WrongDimension
from clipsearch.index.base import Base, positions_of
from clipsearch.index.delta import Delta, DeltaBuffer
from clipsearch.index.flat import scan_selected
from clipsearch.index.view import View
from clipsearch.ports import Rows, VectorIndex, Vectors
from clipsearch.selection import Selection

NO_ROWS: Rows = np.empty(0, dtype=np.int64)


class LiveIndex:
    """A view that can be taken, written to, and given a new base. Writes and swaps wait for each other."""

    def __init__(self, dimension: int, base: VectorIndex | None, base_rows: Rows, seq: int) -> None:
        """Start from ``base``, whose position p holds row ``base_rows[p]`` (int64 ascending), as of ``seq``.

        Without a base, ``base_rows`` is ignored. Raises WrongDimension, and UnusableIndex where base and rows disagree.
        """
        self._dimension = dimension
        self._lock = threading.Lock()
        known = None if base is None else self._checked(base, base_rows)
        self._buffer = DeltaBuffer(dimension, scan_selected if base is None else base.scanner())
        self.base_seq = seq
        self._view = View(dimension, known, None, self._buffer.delta(None), seq)

    @property
    def view(self) -> View:
        """The state after the last write; take it once per search."""
        return self._view

    def apply(self, added_rows: Rows, vectors: NDArray[np.float16] | Vectors, removed_rows: Rows, seq: int) -> None:
        """Make one or more mutations of the catalogue visible, all at once.

        ``added_rows`` int64 [n], ascending and above every row before, with ``vectors`` [n, dimension] of unit length,
        float16 or float32; ``removed_rows`` int64, in any order, added in this very call or before; those that are not
        held, or removed already, are passed over. ``seq`` is that of the last mutation. Raises ValueError for rows
        that do not ascend, WrongDimension, or a ``seq`` that does not grow.
        """
        with self._lock:
            view = self._view
            self._check_added(view, added_rows, vectors, seq)
            if len(added_rows):
                self._buffer.append(added_rows, vectors)
            delta = view.delta
            held = self._buffer.delta(None).rows
            alive = view.alive
            if view.base is not None:
                alive = _less(alive, view.base_size, view.base.rows, removed_rows)
            living = _less(_widened(delta, len(held)), len(held), held, removed_rows)
            if len(added_rows) or living is not delta.alive:
                delta = self._buffer.delta(living)
            self._view = View(self._dimension, view.base, alive, delta, seq)

    def swap(self, base: VectorIndex, base_rows: Rows, base_seq: int, left_out: Rows = NO_ROWS) -> None:
        """Replace the base by one that holds, at position p, row ``base_rows[p]``: all that lived at ``base_seq``.

        Rows that it holds leave the delta, newer ones stay, and what was removed since ``base_seq`` stays removed.
        ``left_out``, int64, are rows that it lacks although they live; they leave the index.
        Raises UnusableIndex where it is not of rows and a moment that this index knows; then nothing has changed.
        """
        with self._lock:
            view = self._view
            fresh = self._checked(base, base_rows)
            if base_seq > view.seq:
                raise UnusableIndex(f"the new base is of {base_seq}, but writes are known up to {view.seq} only")
            living = view.living_rows()
            kept = positions_of(living, fresh.rows) >= 0
            alive = None if kept.all() else Selection.everything(len(kept)).without(np.flatnonzero(~kept))
            newer = living[positions_of(fresh.rows, living) < 0]
            newer = newer[~np.isin(newer, left_out)]
            if len(newer) and len(fresh.rows) and newer[0] < fresh.rows[-1]:
                raise UnusableIndex(f"the new base lacks row {newer[0]}, which lives; build it again")
            buffer = DeltaBuffer(self._dimension, base.scanner())
            if len(newer):
                buffer.append(newer, view.vectors(newer))
            self._buffer, self.base_seq = buffer, base_seq
            self._view = View(self._dimension, fresh, alive, buffer.delta(None), view.seq)

    def _checked(self, base: VectorIndex, rows: Rows) -> Base:
        if len(rows) != base.size or (rows[1:] <= rows[:-1]).any():
            raise UnusableIndex(f"an index of {base.size} vectors cannot have these {len(rows)} rows; build it again")
        self._check_dimension(base.dimension)
        return Base(base, rows)

    def _check_added(self, view: View, rows: Rows, vectors: NDArray[np.float16] | Vectors, seq: int) -> None:
        if seq <= view.seq:
            raise ValueError(f"sequence number {seq} comes after {view.seq}")
        if vectors.shape[:1] != rows.shape or vectors.ndim != 2:
            raise ValueError(f"{len(rows)} rows cannot have vectors of shape {vectors.shape}")
        self._check_dimension(vectors.shape[1])
        if len(rows) and ((rows[1:] <= rows[:-1]).any() or rows[0] < view.end_row):
            raise ValueError("added rows must ascend and be above every row before")

    def _check_dimension(self, dimension: int) -> None:
        if dimension != self._dimension:
            raise WrongDimension(
                f"the vectors have {dimension} components, the index {self._dimension}",
                metadata={"expected": str(self._dimension), "got": str(dimension)},
            )


def _less(alive: Selection | None, size: int, rows: Rows, removed: Rows) -> Selection | None:
    """Return ``alive`` (None: all) of the positions of ``rows`` less those of ``removed``."""
    if len(removed) == 0:
        return alive
    positions = positions_of(rows, np.unique(removed))
    positions = positions[positions >= 0]
    if alive is not None:
        positions = positions[alive.contains(positions)]
    if len(positions) == 0:
        return alive
    return (alive or Selection.everything(size)).without(positions)


def _widened(delta: Delta, size: int) -> Selection | None:
    """Return what lives in a delta as a selection of ``size`` positions: those added since live."""
    if delta.alive is None or size == len(delta.rows):
        return delta.alive
    return Selection.everything(size).without(delta.alive.excluded)
