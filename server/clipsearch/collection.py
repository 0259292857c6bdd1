"""A collection as it is served: the index, its rows' ids, and the catalogue's metadata under one roof.

It lives beside ``app`` because it joins two layers that do not know each other.
"""

import logging
from pathlib import Path

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.errors import UnusableIndex
from clipsearch.index.storage import Device, LoadedIndex, open_index
from clipsearch.ports import Rows, VectorIndex

logger = logging.getLogger(__name__)


class Collection:
    """What a search needs of a collection directory; the methods may be called from any thread."""

    def __init__(self, loaded: LoadedIndex, catalogue: CatalogueReader) -> None:
        """Join an opened index with the catalogue it was derived from; ``open_collection`` opens both."""
        self.index: VectorIndex = loaded.index
        self.manifest = loaded.manifest
        self.model_hash = loaded.manifest.model_hash
        self._ids = loaded.ids
        self._catalogue = catalogue

    def row_of(self, item_id: str) -> int | None:
        """Return the row of an indexed item, None where there is none. Reads SQLite."""
        row = self._catalogue.row_of(item_id)
        # The catalogue may have grown since the index was built.
        return row if row is not None and row < self.index.size else None

    def ids(self, rows: Rows) -> list[str]:
        """Return the ids of rows; memory only."""
        return [self._ids[row] for row in rows.tolist()]

    def metadata(self, rows: Rows) -> list[dict[str, object]]:
        """Return the metadata of rows. Reads SQLite."""
        return self._catalogue.metadata(rows.tolist())

    def close(self) -> None:
        """Close the catalogue."""
        self._catalogue.close()


def open_collection(path: str | Path, device: Device = "auto", threads: int | None = None) -> Collection:
    """Open the newest index of a collection directory and its catalogue.

    Raises UnusableIndex where one of them is not whole or they do not belong together, and DeviceUnavailable.
    """
    loaded = open_index(path, device, threads)
    catalogue = CatalogueReader(loaded.path.parent)
    try:
        _check(loaded, catalogue)
    except UnusableIndex:
        catalogue.close()
        raise
    return Collection(loaded, catalogue)


def _check(loaded: LoadedIndex, catalogue: CatalogueReader) -> None:
    manifest = loaded.manifest
    seq, count = catalogue.seq(), catalogue.count()
    mine = (manifest.dimension, manifest.model_hash)
    if mine != (catalogue.dimension, catalogue.model_hash) or manifest.seq > seq or manifest.size > count:
        raise UnusableIndex(f"{loaded.path} was not built from the catalogue beside it; build the index again")
    if manifest.seq < seq:
        logger.warning(
            "%s is older than its catalogue: %d items are not searchable until `clipsearch index build` has run",
            loaded.path,
            count - manifest.size,
        )
