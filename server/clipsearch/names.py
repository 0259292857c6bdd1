"""What the rows of a collection are called: by position for those in the index, by row for newer ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.index.base import positions_of
from clipsearch.index.ids import NO_IDS, PackedIds
from clipsearch.index.storage import LoadedIndex
from clipsearch.ports import Rows


class RowNames:
    """Ids of rows, from memory. One thread may ``add`` while others look up; a new index gets a new object."""

    def __init__(self, reader: CatalogueReader, index: LoadedIndex | None, newer: Mapping[int, str]) -> None:
        """Name the rows of ``index`` and those of ``newer``; the catalogue is asked about any other."""
        self._reader = reader
        self._packed: PackedIds = NO_IDS if index is None else index.ids
        self._rows: Rows = np.empty(0, np.int64) if index is None else index.rows
        self._newer = dict(newer)

    def of(self, rows: Rows) -> list[str]:
        """Return the ids of rows; reads the disk for those that a rebuild has just dropped."""
        positions = positions_of(self._rows, rows).tolist()
        found = [
            self._newer.get(row) if position < 0 else self._packed[position]
            for row, position in zip(rows.tolist(), positions, strict=True)
        ]
        dropped = [i for i, item_id in enumerate(found) if item_id is None]
        if dropped:
            for i, item_id in zip(dropped, self._reader.ids(rows[dropped].tolist()), strict=True):
                found[i] = item_id
        return [item_id for item_id in found if item_id is not None]

    def add(self, rows: Rows, ids: Sequence[str]) -> None:
        """Name rows that were just written."""
        self._newer.update(zip(rows.tolist(), ids, strict=True))

    def after(self, index: LoadedIndex) -> "RowNames":
        """Return names for a new index: what it reaches leaves the dictionary."""
        last = int(index.rows[-1])
        return RowNames(self._reader, index, {row: name for row, name in self._newer.items() if row > last})
