"""One state of the live index, as a search sees it: base, delta, tombstones and the sequence number they are of."""

from collections.abc import Callable

import numpy as np

from clipsearch.index.allowed import AllowedRows
from clipsearch.index.base import Base, positions_of
from clipsearch.index.delta import Delta
from clipsearch.index.exact import Scores, in_order, merged, pad
from clipsearch.index.flat import check_search
from clipsearch.ports import ALL, Rows, VectorIndex, Vectors
from clipsearch.selection import Selection


class View:
    """Immutable: answers the same for as long as it is kept. Free to take, and for as many threads as the base index.

    ``size`` rows live in it, ``base_size`` are held by the base and ``delta_size`` by the delta, tombstones included,
    of which there are ``base_dead`` and ``delta_dead``; all are below ``end_row``. ``max_nprobe`` and ``max_k`` are
    the base's; ``is_exact`` says that a search can miss nothing. ``base`` is None where nothing was ever built,
    ``alive`` where none of its positions is dead.
    """

    def __init__(self, dimension: int, base: Base | None, alive: Selection | None, delta: Delta, seq: int) -> None:
        """Join a base, its positions that live, and a delta."""
        self.dimension, self.seq = dimension, seq
        self.base, self.alive, self.delta = base, alive, delta
        self.base_size = 0 if base is None else len(base.rows)
        self.base_dead = 0 if alive is None else self.base_size - alive.count
        self.delta_size, self.delta_dead = len(delta.rows), delta.dead
        self.size = self.base_size - self.base_dead + self.delta_size - self.delta_dead
        held = [delta.rows] if base is None else [base.rows, delta.rows]
        self.end_row = max((int(rows[-1]) + 1 for rows in held if len(rows)), default=0)
        self.max_nprobe = 1 if base is None else base.index.max_nprobe
        self.max_k = ALL if base is None else base.index.max_k
        self.is_exact = base is None or base.index.is_exact

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, allowed: AllowedRows | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores float32 [n, k], rows int64 [n, k]), best first, -inf and -1 past what was found.

        ``queries`` are float32 [n, dimension] of unit length; scores are exact cosines with the vectors as float16
        keeps them. Rows of equal score come in ascending order, though which of them are among the k is the index's
        choice. ``allowed`` limits what may be found; ``nprobe`` is what an unfiltered search of the base would visit.
        Raises TopKOutOfRange and NprobeOutOfRange.
        """
        check_search(k, None, self.max_nprobe)
        return self._search(queries, k, allowed, lambda index, only: index.search(queries, k, nprobe, only))

    def search_exactly(self, queries: Vectors, k: int, allowed: AllowedRows | None = None) -> tuple[Scores, Rows]:
        """Return what ``search`` would with a recall of 1, whatever it costs: the measure of live recall."""
        return self._search(queries, k, allowed, lambda index, only: index.search_exactly(queries, k, only))

    def _search(
        self,
        queries: Vectors,
        k: int,
        allowed: AllowedRows | None,
        in_base: Callable[[VectorIndex, Selection | None], tuple[Scores, Rows]],
    ) -> tuple[Scores, Rows]:
        parts = []
        if self.base is not None and self.base_size > self.base_dead:
            only = self.alive if allowed is None else allowed.in_base(self.base, self.alive)
            if only is None or only.count:
                scores, positions = in_base(self.base.index, only)
                parts.append((scores, self.base.rows_at(positions)))
        if self.delta_size > self.delta_dead:
            only = self.delta.alive if allowed is None else allowed.in_delta(self.delta)
            if only is None or only.count:
                parts.append(self.delta.search(queries, k, only))
        if not parts:
            return pad(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        return in_order(*parts[0]) if len(parts) == 1 else merged(parts, k)

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows, float32 [n, dimension], also of tombstoned ones that are still held.

        Raises ValueError for a row that this view does not hold.
        """
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        newer = positions_of(self.delta.rows, rows)
        vectors[newer >= 0] = self.delta.vectors[newer[newer >= 0]]
        older = newer < 0
        if self.base is not None and older.any():
            positions = positions_of(self.base.rows, rows[older])
            if (positions >= 0).all():
                vectors[older] = self.base.index.vectors(positions)
                return vectors
        if older.any():
            raise ValueError(f"at least one of {len(rows)} rows is in neither the base nor the delta")
        return vectors

    def living_rows(self) -> Rows:
        """Return all rows that live, int64 [size] ascending."""
        older: Rows = np.empty(0, dtype=np.int64)
        if self.base is not None:
            older = np.asarray(self.base.rows if self.alive is None else self.base.rows[self.alive.positions])
        alive = self.delta.alive
        newer = self.delta.rows if alive is None else self.delta.rows[alive.positions]
        return np.concatenate([older, newer])
