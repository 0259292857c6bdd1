"""A living collection: the catalogue that is its truth, and the index in memory that follows it.

Writes are committed to SQLite first and then published to the live index, by one thread; whoever is answered afterwards
finds what was written, before and after a crash. Searches take the index's current view and lock nothing.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsearch.catalogue.filters.compile import CompiledFilter
from clipsearch.catalogue.filters.rowsets import RowSets
from clipsearch.catalogue.mutations import Applied, Mutation
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.schema import catalogue_file
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import ClipsearchError, ComputeFailed, RebuildRunning, UnusableIndex
from clipsearch.index.allowed import AllowedRows
from clipsearch.index.base import positions_of
from clipsearch.index.drift import Action, Sizes, rebuild_due
from clipsearch.index.gpu import gpu_count
from clipsearch.index.ids import PackedIds
from clipsearch.index.live import LiveIndex
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.storage import Device, LoadedIndex, open_index
from clipsearch.index.view import View
from clipsearch.ports import Rows, Vectors

logger = logging.getLogger(__name__)

FILTERS_KEPT = 256
FILTER_BYTES_KEPT = 64 * 2**20
_BLOCK = 4096

Derive = Callable[[Path, CatalogueReader], object]
"""Builds and publishes the index of a collection directory from its catalogue as it stands."""


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """What a collection is opened with; ``device`` and ``threads`` as for ``open_index``."""

    dimension: int
    model_hash: str
    derive: Derive
    device: Device = "auto"
    threads: int | None = None
    rebuild_by_itself: bool = True


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """Sizes of a collection; ``index`` is None while everything is in the delta."""

    items: int
    tombstones: int
    delta: int
    seq: int
    dimension: int
    disk_bytes: int
    damaged: int
    index: IndexManifest | None


class Collection:
    """One directory, opened to be searched and written; any thread may search, one at a time may ``write``."""

    def __init__(self, name: str, directory: Path, options: CollectionOptions) -> None:
        """Open or create a collection.

        An index that is missing, torn or foreign is not fatal: everything is then searched exactly until a new one is
        built. Raises UnusableIndex where the catalogue cannot be read, is of another model, or is being written by
        another process.
        """
        self.name = name
        self.directory = directory
        self._options = options
        self._writer = CatalogueWriter(directory, options.dimension, _model_of(directory, options))
        self._reader = CatalogueReader(directory)
        self._filters = RowSets(self._reader.matching, max_sets=FILTERS_KEPT, max_bytes=FILTER_BYTES_KEPT)
        self._allowed: OrderedDict[str, tuple[int, AllowedRows]] = OrderedDict()
        self._allowed_lock = threading.Lock()
        self._rebuilding = threading.Lock()
        self.turn: AbstractContextManager[object] = threading.Lock() if _on_gpu(options.device) else nullcontext()
        """What to hold while searching: an index on a GPU takes one caller at a time."""
        self._newer_ids: dict[int, str] = {}
        self._end_row = 0
        self._damaged = 0
        self._loaded = self._open_snapshot()
        self._live = self._load_live()

    # Searching

    @property
    def view(self) -> View:
        """The state after the last write."""
        return self._live.view

    def allowed(self, condition: CompiledFilter) -> AllowedRows:
        """The rows that a filter lets through, as of the last write at least. Reads the disk for rows not seen yet."""
        end = self._end_row
        with self._allowed_lock:
            known_end, known = self._allowed.get(condition.text, (0, None))
        if known is not None and known_end >= end:
            return known
        rows = self._filters.rows(condition, end)
        newer = rows[np.searchsorted(rows, known_end) :]
        allowed = AllowedRows(rows) if known is None else known.extended(newer)
        with self._allowed_lock:
            self._allowed[condition.text] = (end, allowed)
            self._allowed.move_to_end(condition.text)
            if len(self._allowed) > FILTERS_KEPT:
                self._allowed.popitem(last=False)
        return allowed

    def ids(self, rows: Rows) -> list[str]:
        """The ids of rows: from memory, but for rows that a rebuild has just dropped."""
        newer, packed = self._newer_ids, self._packed_ids
        found: list[str] = []
        for row, position in zip(rows.tolist(), positions_of(self._base_rows, rows).tolist(), strict=True):
            if position >= 0:
                found.append(packed[position])
            else:
                found.append(newer.get(row) or self._reader.ids([row])[0])  # an id is never empty
        return found

    def metadata(self, rows: Rows) -> list[dict[str, object]]:
        """The metadata of rows. Reads the disk."""
        return self._reader.metadata(rows.tolist())

    def row_of(self, item_id: str) -> int | None:
        """The row of a searchable item, None if there is none. Reads the disk."""
        row = self._reader.row_of(item_id)
        return row if row is not None and self.view.contains(row) else None

    def vector_of(self, row: int) -> Vectors:
        """The stored vector of a row of the current view, float32 [dimension]."""
        vector: Vectors = self.view.vectors(np.array([row]))[0]
        return vector

    @property
    def reader(self) -> CatalogueReader:
        """The catalogue, for looking items up."""
        return self._reader

    # Writing

    def write(self, mutations: Sequence[Mutation]) -> list[Applied | ClipsearchError]:
        """Commit mutations as one group and make them searchable: when this returns, they are both.

        One caller at a time. Where the disk refuses, every mutation is answered with that error and none is stored.
        """
        try:
            answers = self._writer.apply(mutations)
        except ClipsearchError as error:
            return [copy(error) for _ in mutations]  # one each: callers add to their own
        try:
            self._publish([answer for answer in answers if isinstance(answer, Applied)])
        except Exception:
            # Committed but not in memory: no answer may claim either. Reading the truth again cures the memory.
            logger.exception("collection %s: a committed write could not be published; loading it again", self.name)
            self._live = self._load_live()
            return [ComputeFailed("the write may be stored; ask again with the same request_id") for _ in mutations]
        return answers

    def _publish(self, applied: Sequence[Applied]) -> None:
        told = [one for one in applied if not one.repeated and (len(one.rows) or len(one.removed))]
        if not told:
            return
        rows = np.concatenate([one.rows for one in told])
        # Ids first: a search that finds a row must be able to name it.
        for one in told:
            self._newer_ids.update(zip(one.rows.tolist(), one.ids, strict=True))
        removed = np.concatenate([one.removed for one in told])
        self._live.apply(rows, np.concatenate([one.embeddings for one in told]), removed, told[-1].seq)
        if len(rows):
            self._end_row = int(rows[-1]) + 1

    # The index

    def rebuild_if_due(self) -> None:
        """Build a new index in the background where the delta or the tombstones have grown too large."""
        view = self.view
        manifest = self._loaded.manifest if self._loaded else None
        nlist = manifest.ivfpq.nlist if manifest and manifest.ivfpq else None
        due = rebuild_due(Sizes(view.base_size, view.base_dead, view.delta_size, view.delta_dead, nlist))
        if due.action is Action.NONE or not self._options.rebuild_by_itself or self._rebuilding.locked():
            return
        logger.info("collection %s: rebuilding the index (%s)", self.name, due.reason)
        threading.Thread(target=self._rebuild_quietly, name=f"rebuild-{self.name}", daemon=True).start()

    def check_not_rebuilding(self) -> None:
        """Raise RebuildRunning while the index is being built."""
        if self._rebuilding.locked():
            raise RebuildRunning(f"the index of collection {self.name} is being built already")

    def _rebuild_quietly(self) -> None:
        try:
            self.rebuild()
        except RebuildRunning:
            return
        except ClipsearchError as error:
            logger.error("collection %s: the rebuild failed: %s", self.name, error)

    def rebuild(self, derive: Derive | None = None) -> IndexManifest:
        """Build a new index from the catalogue as it stands and swap it in; searches and writes go on meanwhile.

        Raises RebuildRunning where one runs, and the build's own errors, upon which the old index stays.
        """
        if not self._rebuilding.acquire(blocking=False):
            raise RebuildRunning(f"the index of collection {self.name} is being built already")
        try:
            (derive or self._options.derive)(self.directory, self._reader)
            loaded = open_index(self.directory, self._options.device, self._options.threads, verify=False)
            self._live.swap(loaded.index, loaded.rows, loaded.manifest.seq)
            self._adopt(loaded)
            logger.info("collection %s: serving index-%d, %d items", self.name, loaded.manifest.seq, loaded.index.size)
            return loaded.manifest
        finally:
            self._rebuilding.release()

    def _adopt(self, loaded: LoadedIndex | None) -> None:
        """Name rows from a new index. Ids that it holds leave the dictionary; the catalogue knows any other."""
        self._packed_ids = loaded.ids if loaded else PackedIds(memoryview(b"\0" * 8).cast("q"), memoryview(b""))
        self._base_rows: Rows = loaded.rows if loaded else np.empty(0, np.int64)
        self._loaded = loaded
        # A new dictionary: searches may be reading the old one, and the writer adding to it only costs them a look-up.
        last = int(self._base_rows[-1]) if len(self._base_rows) else -1
        self._newer_ids = {row: item_id for row, item_id in list(self._newer_ids.items()) if row > last}

    def _open_snapshot(self) -> LoadedIndex | None:
        try:
            loaded = open_index(self.directory, self._options.device, self._options.threads)
            if loaded.manifest.seq > self._writer.seq or loaded.manifest.model_hash != self._reader.model_hash:
                raise UnusableIndex(f"{loaded.path} is not of this catalogue")
        except UnusableIndex as error:
            if self._reader.counts().live:
                logger.warning("collection %s has no usable index, so one will be built: %s", self.name, error)
            return None
        return loaded

    def _load_live(self) -> LiveIndex:
        """The live index as the catalogue has it: the snapshot, and what came since."""
        loaded = self._loaded
        self._adopt(loaded)
        seq, base = self._writer.seq, loaded.index if loaded else None
        live = LiveIndex(self._options.dimension, base, self._base_rows, loaded.manifest.seq if loaded else -1)
        first = int(self._base_rows[-1]) + 1 if loaded else 0
        rows = self._reader.rows_since(first)
        blocks = [self._reader.embeddings(rows[i : i + _BLOCK]) for i in range(0, len(rows), _BLOCK)]
        self._damaged = sum(len(block.damaged) for block in blocks)
        if self._damaged:
            logger.error("collection %s: %d embeddings do not match their checksums", self.name, self._damaged)
        rows = np.concatenate([block.rows for block in blocks]) if blocks else rows
        vectors = np.concatenate([block.vectors for block in blocks]) if blocks else _no_vectors(self._options)
        self._newer_ids = dict(zip(rows.tolist(), self._reader.ids(rows.tolist()), strict=True))
        removed = self._reader.removed_since(loaded.manifest.seq) if loaded else np.empty(0, np.int64)
        self._end_row = self._writer.next_row
        if seq > (loaded.manifest.seq if loaded else -1):
            live.apply(rows, vectors, removed, seq)
        return live

    def stats(self) -> CollectionStats:
        """Sizes, as of now. Reads the disk."""
        view, counts = self.view, self._reader.counts()
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        return CollectionStats(
            items=counts.live,
            tombstones=counts.tombstones,
            delta=view.delta_size - view.delta_dead,
            seq=view.seq,
            dimension=view.dimension,
            disk_bytes=sum(path.stat().st_size for path in files),
            damaged=self._damaged,
            index=self._loaded.manifest if self._loaded else None,
        )

    def close(self) -> None:
        """Wait for a rebuild that runs, fold the log into the catalogue and let go of the directory."""
        with self._rebuilding:
            self._reader.close()
            self._writer.close()


def _on_gpu(device: Device) -> bool:
    return device == "cuda" or (device == "auto" and gpu_count() > 0)


def _model_of(directory: Path, options: CollectionOptions) -> str | None:
    """The model to write as: none where the catalogue was made of ready vectors, which any model's may join."""
    if not catalogue_file(directory).is_file():
        return options.model_hash
    with CatalogueReader(directory) as reader:
        return None if reader.model_hash is None else options.model_hash


def _no_vectors(options: CollectionOptions) -> Vectors:
    return np.empty((0, options.dimension), np.float32)
