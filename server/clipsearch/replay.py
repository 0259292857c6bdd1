"""Opening a collection: the newest index, if it is whole and of this catalogue, and the tail: what came since."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsearch.catalogue.reader import CatalogueReader, Embeddings
from clipsearch.errors import UnusableIndex
from clipsearch.index.base import positions_of
from clipsearch.index.gpu import Gpus
from clipsearch.index.live import NO_ROWS, LiveIndex
from clipsearch.index.storage import Device, LoadedIndex, find_snapshots, open_index, remove_unfinished
from clipsearch.names import RowNames
from clipsearch.ports import Rows

logger = logging.getLogger(__name__)

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Replayed:
    """Where the catalogue is, in memory; ``damaged`` live rows have embeddings that do not match their checksums."""

    live: LiveIndex
    names: RowNames
    damaged: frozenset[int]


def open_newest(
    directory: Path, reader: CatalogueReader, device: Device, threads: int | None, gpus: Gpus
) -> LoadedIndex | None:
    """Open the newest index of a collection that nobody else writes; None where there was never one.

    Removes what an interrupted build left. Raises UnusableIndex for an index that is damaged or of another history.
    """
    remove_unfinished(directory)
    if not find_snapshots(directory):
        return None
    loaded = open_index(directory, device, threads, gpus=gpus)
    if loaded.manifest.seq > reader.seq() or loaded.manifest.model_hash != reader.model_hash:
        # Gone before this catalogue reaches that number, and the two look as if they belonged together.
        shutil.rmtree(loaded.path)
        raise UnusableIndex(f"{loaded.path} is not of this catalogue")
    return loaded


def replay(reader: CatalogueReader, loaded: LoadedIndex | None) -> Replayed:
    """Bring an index to where the catalogue is; nobody may write meanwhile."""
    base_rows = loaded.rows if loaded else NO_ROWS
    base_seq = loaded.manifest.seq if loaded else -1
    live = LiveIndex(reader.dimension, loaded.index if loaded else None, base_rows, base_seq)
    rows = reader.rows_since(0)
    older = rows[: np.searchsorted(rows, live.view.end_row)]
    blocks = list(_embeddings(reader, rows[len(older) :]))
    damaged = [older[positions_of(base_rows, older) < 0], *(block.damaged for block in blocks)]
    newer = np.concatenate([NO_ROWS, *(block.rows for block in blocks)])
    vectors = np.concatenate([np.empty((0, reader.dimension), np.float16), *(block.vectors for block in blocks)])
    removed = reader.removed_since(base_seq) if loaded else NO_ROWS
    if (seq := reader.seq()) > base_seq:
        live.apply(newer, vectors, removed, seq)
    names = dict(zip(newer.tolist(), reader.ids(newer.tolist()), strict=True))
    return Replayed(live, RowNames(reader, loaded, names), frozenset(np.concatenate(damaged).tolist()))


def damaged_among(reader: CatalogueReader, rows: Rows) -> Rows:
    """Return those of the rows whose embeddings do not match their checksums."""
    return np.concatenate([NO_ROWS, *(block.damaged for block in _embeddings(reader, rows))])


def _embeddings(reader: CatalogueReader, rows: Rows) -> Iterator[Embeddings]:
    """Read the embeddings of rows in blocks."""
    for start in range(0, len(rows), _BLOCK):
        yield reader.embeddings(rows[start : start + _BLOCK])
