"""Reading the catalogue while others may write it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.connection import SharedConnection
from clipsearch.catalogue.facets.counts import FacetCounts
from clipsearch.catalogue.filters.compile import CompiledFilter
from clipsearch.catalogue.items import Known, checksum
from clipsearch.catalogue.known import SELECT_KNOWN, known_items
from clipsearch.catalogue.schema import LIVE, SCAN, catalogue_file
from clipsearch.errors import EmbeddingDamaged, UnusableIndex
from clipsearch.ports import Rows

_MANY = 1000
"""Rows asked for in one statement, so that other threads get their turn in between."""

_ITEM = f"SELECT row, id, metadata, uri, content_hash, seq, embedding, checksum FROM {LIVE}"

_NO_END = 2**63 - 1
"""SQLite's largest integer: no row has it."""

_COUNTS = "SELECT count(*) - count(deleted_seq), count(deleted_seq) FROM items INDEXED BY deaths"

_LIVE_ROWS = "SELECT row FROM items INDEXED BY deaths WHERE deleted_seq IS NULL AND row >= ? ORDER BY row"


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A live item; ``embedding`` is float16 [dimension], None where it was not asked for."""

    row: int
    id: str
    metadata: dict[str, object]
    uri: str | None
    content_hash: bytes | None
    seq: int
    embedding: NDArray[np.float16] | None


@dataclass(frozen=True, slots=True)
class Description:
    """What is known about an item beside its embedding."""

    metadata: dict[str, object]
    uri: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some items by id; ``next_after`` is what to go on after, None where there are no more."""

    items: list[StoredItem]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Items that live, and rows that are dead but not purged."""

    live: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class LiveRows:
    """The rows that lived at sequence number ``seq``, int64 ascending."""

    seq: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Embeddings float16 [n, dimension] of ``rows`` int64 [n]; ``damaged`` are the rows left out, int64."""

    rows: Rows
    vectors: NDArray[np.float16]
    damaged: Rows


class CatalogueReader:
    """Looks items up by row and by id. Thread-safe.

    Rows are answered for whether they live or not, as long as they are stored: a search on an older view may ask.
    Look-ups by key take microseconds and share one connection; walks over the table have another, so that a filter
    over a million items keeps no hit waiting for its metadata; ``facets``, which count over all of it, have a third.
    Raises StorageFailed where the disk fails.
    """

    def __init__(self, collection: str | Path) -> None:
        """Open the catalogue of a collection directory; raises UnusableIndex where it cannot be read."""
        self._path = catalogue_file(Path(collection))
        self._keyed = SharedConnection(self._path)
        meta = dict(self._keyed.all("SELECT key, value FROM meta"))
        if "dimension" not in meta or "next_row" not in meta:
            self._keyed.close()
            raise UnusableIndex(f"{self._path} was never finished; run `clipsearch index build` again")
        self._walks = SharedConnection(self._path)
        # A file that no writer has opened since there is this index lacks it, and is read all the same.
        indexed = self._keyed.all("SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?", (SCAN,))
        self._scan = f"INDEXED BY {SCAN}" if indexed else "NOT INDEXED"
        self.facets = FacetCounts(SharedConnection(self._path), self._scan)
        self.dimension = int(meta["dimension"])
        self.model_hash: str | None = meta.get("model_hash")

    def seq(self) -> int:
        """Return the sequence number of the last committed mutation."""
        return int(self._keyed.all("SELECT value FROM meta WHERE key = 'seq'")[0][0])

    def counts(self) -> Counts:
        """Return how many items and tombstones there are; walks over an index, some 10 ms for a million."""
        return Counts(*self._walks.all(_COUNTS)[0])

    def get(self, item_id: str, *, with_embedding: bool = False) -> StoredItem | None:
        """Return a live item, None where there is none; raises EmbeddingDamaged where its embedding is asked for."""
        found = self._keyed.all(f"{_ITEM} AND id = ?", (item_id,))
        return self._item(*found[0], with_embedding=with_embedding) if found else None

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Return what is stored about those of ``ids`` that live; every id must be a usable one."""
        return known_items(self._keyed.all(SELECT_KNOWN, (json.dumps(ids),)), self.dimension)

    def list_page(
        self, after: str | None, limit: int, only: CompiledFilter | None = None, *, with_embeddings: bool = False
    ) -> Page:
        """Return up to ``limit`` live items whose ids come after ``after`` (None: from the first).

        By id, in the order of its UTF-8 bytes: an update gives an item a new row, so that by row it would be listed
        twice. Whoever follows ``next_after`` to the end meets each item that is there all the time exactly once.
        ``only`` leaves out what a filter does not let through. Raises EmbeddingDamaged as ``get`` does.
        """
        condition, parameters = ("", ()) if only is None else (f" AND {only.sql}", only.parameters)
        select = f"{_ITEM} AND id > ?{condition} ORDER BY id LIMIT ?"
        # Every id is longer than the empty text, so it comes before all of them. A filter may walk far.
        connection = self._keyed if only is None else self._walks
        found = connection.all(select, (after or "", *parameters, limit + 1))
        items = [self._item(*values, with_embedding=with_embeddings) for values in found[:limit]]
        return Page(items, items[-1].id if len(found) > limit else None)

    def metadata(self, rows: Sequence[int]) -> list[dict[str, object]]:
        """Return the metadata of each of ``rows``, in their order; raises UnusableIndex for a row that is not there."""
        return [json.loads(text) for text in self._column("metadata", rows)]

    def descriptions(self, rows: Sequence[int]) -> list[Description]:
        """Return the metadata and uri of each of ``rows``, as ``metadata`` does."""
        found = {row: (text, uri) for row, text, uri in self._at("row, metadata, uri", rows)}
        return [Description(json.loads(text), uri) for text, uri in (found[int(row)] for row in rows)]

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Return the id of each of ``rows``, in their order; raises UnusableIndex for a row that is not there."""
        return self._column("id", rows)

    def embeddings(self, rows: Rows) -> Embeddings:
        """Return the embeddings of ``rows`` int64 ascending, those that do not match their checksums apart.

        Raises UnusableIndex for a row that is not there. Ask in blocks: all that is returned is in memory.
        """
        blobs, intact, damaged = [], [], []
        for row, blob, expected in self._at("row, embedding, checksum", rows.tolist()):
            if len(blob) == 2 * self.dimension and checksum(blob) == expected:
                intact.append(row)
                blobs.append(blob)
            else:
                damaged.append(row)
        vectors = np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), self.dimension)
        return Embeddings(_rows(intact), vectors, _rows(damaged))

    def live_rows(self) -> LiveRows:
        """Return all rows that live, with the sequence number at which they do."""
        with self._walks.consistent() as connection:
            seq = connection.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()[0]
            cursor = connection.execute(_LIVE_ROWS, (0,))
            rows = np.fromiter((row for (row,) in cursor), dtype=np.int64)
        return LiveRows(int(seq), rows)

    def rows_since(self, first_row: int) -> Rows:
        """Return the live rows from ``first_row`` on, int64 ascending: what came after a snapshot."""
        return self._walks.numbers(_LIVE_ROWS, (first_row,))

    def removed_since(self, seq: int) -> Rows:
        """Return the rows that died after sequence number ``seq``, int64 ascending, also those born after it."""
        found = self._walks.numbers("SELECT row FROM items WHERE deleted_seq > ?", (seq,))
        found.sort()
        return found

    def matching(
        self, condition: str, parameters: Sequence[object], first_row: int = 0, end_row: int = _NO_END
    ) -> Rows:
        """Return the rows from ``first_row`` to before ``end_row`` that fulfil an SQL condition, int64 ascending.

        ``condition`` may name the columns of ``items`` and hold a ``?`` for each of ``parameters``; it must come from a
        compiler, never from a caller. Rows that are dead are among them, so that the answer for a row never changes
        and a search on an older view finds what it should; leave out what is tombstoned in the view.
        """
        select = f"SELECT row FROM items {self._scan} WHERE row >= ? AND row < ? AND ({condition}) ORDER BY row"
        return self._walks.numbers(select, (first_row, end_row, *parameters))

    def _item(self, *values: Any, with_embedding: bool) -> StoredItem:
        row, item_id, metadata, uri, content_hash, seq, blob, expected = values
        embedding = None
        if with_embedding:
            if len(blob) != 2 * self.dimension or checksum(blob) != expected:
                raise EmbeddingDamaged(
                    f"the stored embedding of {item_id!r} does not match its checksum", metadata={"item_id": item_id}
                )
            embedding = np.frombuffer(blob, dtype="<f2")
        return StoredItem(row, item_id, json.loads(metadata), uri, content_hash, seq, embedding)

    def _column(self, column: str, rows: Sequence[int]) -> list[str]:
        found = dict(self._at(f"row, {column}", rows))
        return [found[int(row)] for row in rows]

    def _at(self, columns: str, rows: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return columns of rows, the row number first, ascending and each once."""
        wanted = sorted({int(row) for row in rows})
        found: list[tuple[Any, ...]] = []
        select = f"SELECT {columns} FROM items WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row"
        for start in range(0, len(wanted), _MANY):
            found += self._keyed.all(select, (json.dumps(wanted[start : start + _MANY]),))
        if len(found) != len(wanted):
            missing = min(set(wanted) - {row[0] for row in found})
            raise UnusableIndex(f"{self._path} has no row {missing}: it is not what the index was built from")
        return found

    def close(self) -> None:
        """Close the file; calls that follow raise CollectionNotFound."""
        self._keyed.close()
        self._walks.close()
        self.facets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rows(numbers: list[int]) -> Rows:
    return np.array(numbers, dtype=np.int64)
