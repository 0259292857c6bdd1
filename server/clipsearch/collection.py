"""A living collection: the catalogue that is its truth, and the index in memory that follows it.

Writes are committed to SQLite first and then published to the live index, by one thread; whoever is answered afterwards
finds what was written, before and after a crash. Searches take the index's current view and lock nothing.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsearch.catalogue.filters.compile import CompiledFilter
from clipsearch.catalogue.mutations import Applied, Mutation
from clipsearch.catalogue.reader import CatalogueReader, Description
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.disk import bytes_under
from clipsearch.errors import (
    ClipsearchError,
    CollectionNotFound,
    ComputeFailed,
    InvalidInput,
    ModelReplaced,
    UnusableIndex,
)
from clipsearch.filtered import FilterCache
from clipsearch.index.allowed import AllowedRows
from clipsearch.index.base import positions_of
from clipsearch.index.drift import Sizes, lists_fit, rebuild_due
from clipsearch.index.gpu import ONE, Gpus
from clipsearch.index.live import NO_ROWS, LiveIndex
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Training
from clipsearch.index.storage import Device, LoadedIndex, open_index
from clipsearch.index.tuning import Report
from clipsearch.index.view import View
from clipsearch.names import RowNames
from clipsearch.ports import Rows
from clipsearch.rebuilds import Rebuilds, worth_writing
from clipsearch.replay import damaged_among, open_newest, replay

logger = logging.getLogger(__name__)

Derive = Callable[[Path, CatalogueReader, Report, Training], object]
"""Builds and publishes the index of a collection directory from its catalogue as it stands; what its reports raise ends
it."""


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """What a collection is opened with; ``device``, ``threads`` and ``gpus`` as for ``open_index``."""

    dimension: int
    model_hash: str
    derive: Derive
    device: Device = "auto"
    threads: int | None = None
    gpus: Gpus = ONE
    rebuild_by_itself: bool = True


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """Sizes of a collection; ``index`` is None while everything is in the delta.

    ``identity`` is the collection's own, which no other one has, whatever its name; ``weight_hash`` the model's, None
    for ready vectors of nobody knows which.
    ``damaged`` live items are known to have embeddings that do not match their checksums, and are never found.
    """

    identity: str
    weight_hash: str | None
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
        # First of all: a catalogue that was left half-made can be read only when its writer has finished it.
        self._writer = CatalogueWriter(directory, options.dimension, options.model_hash, joins_ready_vectors=True)
        self._reader = CatalogueReader(directory)
        self._filters = FilterCache(self._reader.matching)
        self._rebuilds = Rebuilds(name, self.rebuild)
        self._changing = threading.Lock()
        self._closed = self._behind = self._lost = self._succeeded = False
        self._live: LiveIndex
        self._names: RowNames
        self._damaged: frozenset[int]
        try:
            self._loaded = self._open_newest()
            self._replay()
        except BaseException:
            self.close()
            raise

    def use(self, options: CollectionOptions) -> None:
        """Derive indexes in another way from now on; the model of the vectors stays what it is."""
        self._options = options

    # Searching

    @property
    def view(self) -> View:
        """The state after the last write."""
        return self._live.view

    def allowed(self, condition: CompiledFilter, view: View) -> AllowedRows:
        """What a filter lets through of all that a view holds, and maybe of later rows.

        Reads the disk for rows that this filter has not seen yet.
        """
        return self._filters.allowed(condition, view.end_row)

    def ids(self, rows: Rows) -> list[str]:
        """The ids of rows: from memory, but for rows that a rebuild has just dropped."""
        return self._names.of(rows)

    def metadata(self, rows: Rows) -> list[dict[str, object]]:
        """The metadata of rows. Reads the disk."""
        return self._reader.metadata(rows.tolist())

    def descriptions(self, rows: Rows) -> list[Description]:
        """The metadata and uris of rows. Reads the disk."""
        return self._reader.descriptions(rows.tolist())

    @property
    def reader(self) -> CatalogueReader:
        """The catalogue, for looking items up."""
        return self._reader

    # Writing

    def write(self, mutations: Sequence[Mutation]) -> list[Applied | ClipsearchError]:
        """Commit mutations as one group and make them searchable: when this returns, they are both.

        Never raises, so that nobody is led to write again what was written. Where the disk refuses, every mutation is
        answered with that error and none is stored; after ``close`` with CollectionNotFound.
        """
        with self._changing:
            try:
                self._check_open()
                if self._behind:
                    self._replay()
            except ClipsearchError as error:
                return [copy(error) for _ in mutations]
            return self._write(mutations)

    def _write(self, mutations: Sequence[Mutation]) -> list[Applied | ClipsearchError]:
        try:
            answers = self._writer.apply(mutations)
        except ClipsearchError as error:
            return [copy(error) for _ in mutations]  # one each: callers add to their own
        except Exception:
            # Rolled back whole, so halves can be tried until the mutation at fault stands alone.
            if len(mutations) > 1:
                half = len(mutations) // 2
                return [*self._write(mutations[:half]), *self._write(mutations[half:])]
            logger.exception("collection %s: a write failed", self.name)
            return [ComputeFailed("the write failed and nothing was stored; the server's log has the details")]
        try:
            self._publish([answer for answer in answers if isinstance(answer, Applied)])
        except Exception:
            logger.exception("collection %s: a committed write could not be published; loading it again", self.name)
            self._behind = True
            return self._answers_after_loading(answers)
        return answers

    def _answers_after_loading(self, answers: list[Applied | ClipsearchError]) -> list[Applied | ClipsearchError]:
        """The answers, if what was committed can be read back into memory: only then is it searchable."""
        try:
            self._replay()
        except Exception:
            logger.exception("collection %s: loading failed; tried again before the next write", self.name)
            return [ComputeFailed("the write is stored but not searchable yet; ask again") for _ in answers]
        return answers

    def _publish(self, applied: Sequence[Applied]) -> None:
        told = [one for one in applied if not one.repeated and (len(one.rows) or len(one.removed))]
        if not told:
            return
        rows = np.concatenate([one.rows for one in told])
        # Ids first: a search that finds a row must be able to name it.
        for one in told:
            self._names.add(one.rows, one.ids)
        removed = np.concatenate([one.removed for one in told])
        self._live.apply(rows, np.concatenate([one.embeddings for one in told]), removed, told[-1].seq)
        if self._damaged:
            self._damaged -= set(removed.tolist())

    def _check_open(self) -> None:
        if self._succeeded:
            raise ModelReplaced("another model took over meanwhile", metadata={"collection": self.name})
        if self._closed:
            raise CollectionNotFound("the collection was closed meanwhile", metadata={"collection": self.name})

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep writers waiting inside this."""
        with self._changing:
            yield

    def succeeded(self) -> None:
        """Inside ``frozen``: refuse writes from now on, as another collection has taken this one's place."""
        self._succeeded = True

    def skip_to(self, seq: int) -> None:
        """Go on from a sequence number at least as high as ``seq``: that of a collection whose place this one takes."""
        with self._changing:
            if self.view.seq < seq:
                self._writer.skip_to(seq)
                self._live.apply(NO_ROWS, np.empty((0, self.view.dimension), np.float16), NO_ROWS, seq)

    # The index

    def rebuild_if_due(self) -> None:
        """Build a new index in the background where it was lost, or delta or tombstones have grown too large."""
        if self._options.rebuild_by_itself and (reason := self._rebuild_reason()):
            self._rebuilds.begin(reason)

    def _rebuild_reason(self) -> str:
        """Why a new index is due; empty where it is not, or where there is nothing to index."""
        view = self.view
        if view.size == 0:
            return ""
        if self._lost:
            return "the old one is not usable"
        return rebuild_due(Sizes(view.base_size, view.base_dead, view.delta_size, view.delta_dead))

    @property
    def rebuild_due(self) -> bool:
        """Whether a new index is due."""
        return bool(self._rebuild_reason())

    @property
    def rebuilding(self) -> bool:
        """Whether a new index is being built now."""
        return self._rebuilds.running

    def check_not_rebuilding(self) -> None:
        """Raise RebuildRunning while the index is being built."""
        self._rebuilds.check_none_runs()

    def rebuild(self, report: Report | None = None, training: Training = Training.WHERE_NEEDED) -> IndexManifest:
        """Build a new index from the catalogue as it stands and swap it in; searches and writes go on meanwhile.

        Items whose embeddings are damaged are in it no more. Raises RebuildRunning where one runs, InvalidInput where
        nothing is searchable, Cancelled after ``stop_rebuilding``, and what ``report`` and the build raise, upon which
        the old index stays.
        """
        with self._rebuilds.alone():
            self._check_open()
            if self.view.size == 0:
                raise InvalidInput("the collection has no searchable item, so nothing to index", field="collection")
            self._options.derive(self.directory, self._reader, self._rebuilds.stoppable(report), training)
            chosen = self._options
            loaded = open_index(self.directory, chosen.device, chosen.threads, gpus=chosen.gpus, verify=False)
            damaged = self._left_out_of(loaded)
            with self._changing:
                self._live.swap(loaded.index, loaded.rows, loaded.manifest.seq, damaged)
                self._names = self._names.after(loaded)
                self._loaded, self._lost = loaded, False
                self._damaged |= set(damaged.tolist())
            logger.info("collection %s: serving index-%d, %d items", self.name, loaded.manifest.seq, loaded.index.size)
            return loaded.manifest

    def _left_out_of(self, loaded: LoadedIndex) -> Rows:
        """The rows that live but are not in a new index, because their embeddings are damaged."""
        living = self.view.living_rows()
        damaged = damaged_among(self._reader, living[positions_of(loaded.rows, living) < 0])
        if len(damaged):
            logger.error("collection %s: %d damaged embeddings left out", self.name, len(damaged))
        return damaged

    def _open_newest(self) -> LoadedIndex | None:
        try:
            chosen = self._options
            return open_newest(self.directory, self._reader, chosen.device, chosen.threads, chosen.gpus)
        except UnusableIndex as error:
            self._lost = True
            logger.warning("collection %s: its index is not usable and will be built again: %s", self.name, error)
            return None

    def _replay(self) -> None:
        """Bring names and live index to where the catalogue is: the index, and what came since."""
        replayed = replay(self._reader, self._loaded)
        if replayed.damaged:
            logger.error("collection %s: %d embeddings do not match their checksums", self.name, len(replayed.damaged))
        self._damaged = replayed.damaged
        # Names first, as in _publish.
        self._names = replayed.names
        self._live = replayed.live
        self._behind = False

    def stats(self) -> CollectionStats:
        """Sizes, as of now. Reads the disk."""
        view, counts = self.view, self._reader.counts()
        return CollectionStats(
            identity=self._reader.identity,
            weight_hash=self._reader.model_hash,
            items=counts.live,
            tombstones=counts.tombstones,
            delta=view.delta_size - view.delta_dead,
            seq=view.seq,
            dimension=view.dimension,
            disk_bytes=bytes_under(self.directory),
            damaged=len(self._damaged),
            index=self._loaded.manifest if self._loaded else None,
        )

    def stop_rebuilding(self) -> None:
        """Have a rebuild that runs end at its next step, and start no other."""
        self._rebuilds.stop()

    def save_index(self, seconds: float) -> None:
        """Before ``close``: write an index where that spares the next start a long replay, in so many seconds.

        Trains and measures nothing, and swaps nothing in. A failure is logged and costs nothing but that replay.
        """
        view = self.view
        if not worth_writing(view.delta_size, view.size, seconds):
            return
        manifest = self._loaded.manifest if self._loaded else None
        if not lists_fit(view.size, manifest.ivfpq.nlist if manifest and manifest.ivfpq else None):
            logger.info("collection %s: its index has to be trained, which is left to the next start", self.name)
            return
        self._rebuilds.last(self._write_index, seconds)

    def _write_index(self, report: Report) -> None:
        self._options.derive(self.directory, self._reader, report, Training.NEVER)
        logger.info("collection %s: wrote an index for the next start", self.name)

    def close(self) -> None:
        """Stop a rebuild, finish the write that runs, fold the log into the catalogue and let go of the directory.

        Searches that still run may finish, or raise CollectionNotFound where they need the catalogue.
        """
        self.stop_rebuilding()
        with self._rebuilds.over(), self._changing:
            if not self._closed:
                self._closed = True
                self._reader.close()
                self._writer.close()
