"""Loading in bulk: a source of pictures or vectors into a store, resumable at any moment.

The store is a catalogue that nobody serves, from which ``build_index`` then derives the index, or a living collection
behind its write lane. Either way items are stored in chunks, each of them durable when the next begins. A build that
was interrupted, by Ctrl-C or ``kill -9``, continues by being run again: what is stored with the same content is passed
over. Items that are stored but no longer in the source are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.items import Item, Known, check_id
from clipsearch.catalogue.mutations import Change, Outcome
from clipsearch.errors import ClipsearchError, InvalidInput
from clipsearch.picture_files import find_pictures
from clipsearch.picture_metadata import PictureMetadata
from clipsearch.ports import Vectors
from clipsearch.services.build_metadata import read_metadata
from clipsearch.services.build_pictures import Embedder, Picture, Preparation, Prepared, chunks
from clipsearch.services.build_report import Rejects, Report, Tally
from clipsearch.services.build_vectors import VectorRow, VectorSource, unit_rows


class Store(Protocol):
    """Where a build puts its items: a ``CatalogueWriter``, or the write lane of a living collection."""

    def known(self, ids: Sequence[str]) -> Mapping[str, Known]:
        """Return what is stored about those of ``ids`` that live; every id is a usable one."""
        ...

    def upsert(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Store items durably, and return an outcome for each; raises ClipsearchError where none could be."""
        ...


class Build:
    """One run over one source, into one store."""

    def __init__(self, store: Store, rejects: Rejects, tally: Tally, report: Report) -> None:
        """Take an open store, where to list what is left out, and where to count and report."""
        self._store = store
        self._rejects = rejects
        self._tally = tally
        self._report = report
        self._seen: set[str] = set()
        self._done = self._total = 0

    def pictures(self, root: Path, metadata: Path | None, embedder: Embedder) -> None:
        """Embed every picture under ``root``; bad ones are listed, none is fatal.

        An item's id is that of its metadata row, or else its path relative to ``root``. The threads decode the next
        chunk while one is embedded and committed.
        """
        names = find_pictures(root)
        if metadata is None:
            self._pictures(root, names, None, embedder)
            return
        read = read_metadata(metadata, self._rejects)
        with PictureMetadata(read, root, metadata.parent, self._rejects) as rows:
            self._pictures(root, names, rows, embedder)
            self._tally.unmatched_metadata += rows.report_unclaimed()

    def _pictures(self, root: Path, names: Sequence[str], rows: PictureMetadata | None, embedder: Embedder) -> None:
        self._begin(len(names))
        waiting: list[Future[Prepared]] = []
        with Preparation(embedder) as preparation:
            for chunk in chunks(self._named(root, names, rows)):
                started = preparation.start(chunk, self._store.known([picture.id for picture in chunk]))
                self._embed(waiting, embedder)
                waiting = started
            self._embed(waiting, embedder)

    def vectors(self, source: VectorSource) -> None:
        """Store every usable vector of ``source``, scaled to unit length; the others are listed."""
        self._begin(source.size)
        for block in source.blocks:
            rows = [row for row in block if self._usable_id(row.where, row.id) and self._right_size(row, source)]
            if rows:
                stacked = np.stack([np.asarray(row.vector, dtype=np.float32) for row in rows])
                self._store_vectors(rows, stacked)
            self._advance(len(block))

    def _named(self, root: Path, names: Iterable[str], rows: PictureMetadata | None) -> Iterator[Picture]:
        for relative in names:
            row = None if rows is None else rows.claim(relative)
            self._tally.without_metadata += rows is not None and row is None
            item_id = relative if row is None or row.id is None else row.id
            if self._usable_id(relative, item_id):
                yield Picture(relative, root / relative, item_id, "{}" if row is None else row.json)
            else:
                self._advance(1)

    def _embed(self, chunk: Sequence[Future[Prepared]], embedder: Embedder) -> None:
        items: list[tuple[str, Item]] = []
        fresh: list[Prepared] = []
        for prepared in [future.result() for future in chunk]:
            picture = prepared.picture
            if prepared.problem is not None:
                self._rejects.add(picture.relative, *prepared.problem)
            elif prepared.pixels is None:
                items.append((picture.relative, _item(prepared, None)))
            else:
                fresh.append(prepared)
                continue
            self._advance(1)
        for start in range(0, len(fresh), embedder.batch):
            some = fresh[start : start + embedder.batch]
            vectors = embedder.encoder.encode([prepared.pixels for prepared in some if prepared.pixels is not None])
            for prepared, vector in zip(some, self._unit([p.picture.relative for p in some], vectors), strict=True):
                if vector is not None:
                    items.append((prepared.picture.relative, _item(prepared, vector)))
            self._advance(len(some))
        self._put(items)

    def _store_vectors(self, rows: Sequence[VectorRow], stacked: Vectors) -> None:
        units = self._unit([row.where for row in rows], stacked)
        self._put(
            [
                (row.where, Item(row.id, row.metadata, vector, row.content_hash, row.uri))
                for row, vector in zip(rows, units, strict=True)
                if vector is not None
            ]
        )

    def _unit(self, where: Sequence[str], vectors: NDArray[Any]) -> list[NDArray[np.float16] | None]:
        """Return each vector as stored, None (and listed) for one that is not usable."""
        units, errors = unit_rows(vectors, self._tally)
        stored = units.astype(np.float16)
        for place, error in zip(where, errors, strict=True):
            if error is not None:
                self._rejects.error(place, error)
        return [None if error is not None else vector for vector, error in zip(stored, errors, strict=True)]

    def _put(self, items: Sequence[tuple[str, Item]]) -> None:
        """Store what is new or changed, as one chunk; items come with the place they are from."""
        outcomes = self._store.upsert([item for _, item in items])
        for (where, _), outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, ClipsearchError):
                self._rejects.error(where, outcome)
        self._tally.added += outcomes.count(Change.CREATED)
        self._tally.updated += outcomes.count(Change.UPDATED)
        self._tally.unchanged += outcomes.count(Change.UNCHANGED)

    def _usable_id(self, where: str, item_id: str) -> bool:
        try:
            check_id(item_id)
        except InvalidInput as error:
            self._rejects.add(where, "ID_NOT_USABLE", error.message)
            return False
        if item_id in self._seen:
            self._rejects.add(where, "ID_DUPLICATE", f"another item of this source has the id {item_id!r}")
            return False
        self._seen.add(item_id)
        return True

    def _right_size(self, row: VectorRow, source: VectorSource) -> bool:
        if row.vector is None:
            self._rejects.add(row.where, "VECTOR_MISSING", "the row has no embedding")
            return False
        if len(row.vector) != source.dimension:
            message = f"the vector has {len(row.vector)} coordinates instead of {source.dimension}"
            self._rejects.add(row.where, "VECTOR_WRONG_DIMENSION", message)
            return False
        return True

    def _begin(self, total: int) -> None:
        self._total = total
        self._report("embedding", 0, total)

    def _advance(self, steps: int) -> None:
        self._done += steps
        self._report("embedding", self._done, self._total)


def _item(prepared: Prepared, vector: NDArray[np.float16] | None) -> Item:
    picture = prepared.picture
    return Item(picture.id, picture.metadata, vector, prepared.content_hash, picture.relative)
