"""A collection opened for searching: the derived index, its packed ids, and the catalogue they come from."""

import logging
from pathlib import Path

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.index.rows import position_of
from clipsearch.index.storage import Device, LoadedIndex, open_index
from clipsearch.ports import Rows, VectorIndex

logger = logging.getLogger(__name__)


class Collection:
    """The catalogue side of a search, ``services.search.Items``; thread-safe but for the index itself.

    What a search calls rows are positions in the index; the catalogue's own row numbers stay in here.
    """

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
        """The position of an item in the index, None if it is not there or is newer. Reads the disk."""
        row = self._catalogue.row_of(item_id)
        return None if row is None else position_of(self._loaded.rows, row)

    def ids(self, rows: Rows) -> list[str]:
        """The ids at positions, from memory-mapped files."""
        ids = self._loaded.ids
        return [ids[position] for position in rows.tolist()]

    def metadata(self, rows: Rows) -> list[dict[str, object]]:
        """The metadata at positions, as it was when the index was derived. Reads the disk."""
        return self._catalogue.metadata(self._loaded.rows[rows].tolist())

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
