"""An index and the catalogue rows of its positions."""

import numpy as np

from clipsearch.ports import Rows, VectorIndex


class Base:
    """Immutable: ``index`` and ``rows`` int64 [index.size], ascending: position p holds row ``rows[p]``."""

    def __init__(self, index: VectorIndex, rows: Rows) -> None:
        self.index = index
        self.rows = rows

    def rows_at(self, positions: Rows) -> Rows:
        """Return the rows at ``positions``, -1 where a position is -1."""
        if len(self.rows) == 0:
            return positions
        return np.where(positions < 0, -1, self.rows.take(positions, mode="clip"))


def positions_of(rows: Rows, wanted: Rows) -> Rows:
    """Return the position of each wanted row in ``rows``, ascending; -1 for those that are not there."""
    if len(rows) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    positions = rows.searchsorted(wanted)
    return np.where(rows.take(positions, mode="clip") == wanted, positions, -1)
