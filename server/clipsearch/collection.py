"""A collection opened for searching: the derived index, its packed ids, and the catalogue they come from."""

import logging
from pathlib import Path

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.index.storage import Device, LoadedIndex, open_index
from clipsearch.ports import Rows, VectorIndex

logger = logging.getLogger(__name__)


class Collection:
    """The catalogue side of a search, ``services.search.Items``; thread-safe but for the index itself."""

    def __init__(self, loaded: LoadedIndex, catalogue: CatalogueReader) -> None:
        self._loaded = loaded
        self._catalogue = catalogue
        if (newer := catalogue.seq()) != loaded.manifest.seq:
            logger.warning(
                "%s is of sequence number %d, its catalogue of %d: run `clipsearch index build` again",
                loaded.path,
                loaded.manifest.seq,
                newer,
            )

    @property
    def index(self) -> VectorIndex:
        """The vector index; one caller at a time."""
        return self._loaded.index

    @property
    def model_hash(self) -> str | None:
        """Weight hash of the model that made the vectors; None where they came ready-made."""
        return self._loaded.manifest.model_hash

    def row_of(self, item_id: str) -> int | None:
        """The row of an indexed item, None if there is none. Reads the disk."""
        row = self._catalogue.row_of(item_id)
        # Items that came after the index was derived have rows that it does not know.
        return row if row is not None and row < self._loaded.index.size else None

    def ids(self, rows: Rows) -> list[str]:
        """The ids of rows, from memory-mapped files."""
        ids = self._loaded.ids
        return [ids[row] for row in rows.tolist()]

    def metadata(self, rows: Rows) -> list[dict[str, object]]:
        """The metadata of rows. Reads the disk."""
        return self._catalogue.metadata(rows.tolist())

    def close(self) -> None:
        """Close the catalogue; no call may follow."""
        self._catalogue.close()


def open_collection(directory: Path, device: Device, threads: int | None) -> Collection:
    """Open a directory made by ``clipsearch index build``; ``threads`` as for ``open_index``.

    Raises UnusableIndex where its files are not whole or do not belong together, DeviceUnavailable for a GPU that
    cannot be had.
    """
    loaded = open_index(directory, device, threads)
    return Collection(loaded, CatalogueReader(directory))
