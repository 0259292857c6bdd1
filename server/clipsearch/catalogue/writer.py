"""Writing the catalogue: one writer per collection, one transaction per chunk, every commit durable."""

import fcntl
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.items import Item, Known, check_id, checksum
from clipsearch.catalogue.schema import catalogue_file, connect_writer
from clipsearch.errors import UnusableIndex, WrongDimension

LOCK = "writer.lock"

_READ_BLOCK = 4096
_MANY = 500


class CatalogueWriter:
    """The one writer of a collection; not thread-safe. Use as a context manager."""

    def __init__(self, collection: Path, dimension: int, model_hash: str | None) -> None:
        """Open or create the catalogue of a collection directory.

        Raises UnusableIndex where another process writes it, where it cannot be read, or where it holds embeddings of
        another dimension or of another model: those would be compared with each other as if they meant the same.
        """
        collection.mkdir(parents=True, exist_ok=True)
        self.dimension = dimension
        self.model_hash = model_hash
        self._lock = _take_lock(collection / LOCK)
        try:
            self._path = catalogue_file(collection)
            self._connection = connect_writer(self._path)
        except BaseException:
            self._lock.close()
            raise
        try:
            self._adopt(dimension, model_hash)
        except BaseException:
            self.close()
            raise

    def _adopt(self, dimension: int, model_hash: str | None) -> None:
        """Note the model of a new catalogue, or compare it with that of an old one."""
        stored = dict(self._connection.execute("SELECT key, value FROM meta"))
        if not stored:
            first: list[tuple[str, int | str]] = [("dimension", dimension), ("seq", 0)]
            if model_hash is not None:
                first.append(("model_hash", model_hash))
            with self._transaction():
                self._connection.executemany("INSERT INTO meta VALUES (?, ?)", first)
            return
        if stored["dimension"] != dimension:
            raise UnusableIndex(
                f"{self._path} holds embeddings of dimension {stored['dimension']}, these have {dimension}; "
                "build into another directory"
            )
        if stored.get("model_hash") != model_hash:
            raise UnusableIndex(
                f"{self._path} was embedded by another model (weights {_short(stored.get('model_hash'))}, this bundle "
                f"has {_short(model_hash)}); build into another directory"
            )

    @property
    def seq(self) -> int:
        """The sequence number of the last committed write."""
        return int(self._connection.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()[0])

    @property
    def count(self) -> int:
        """The number of items; rows are dense, so the highest one tells without counting."""
        return int(self._connection.execute("SELECT coalesce(max(row) + 1, 0) FROM items").fetchone()[0])

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Return what is stored about those of ``ids`` that exist."""
        found = {}
        for start in range(0, len(ids), _MANY):
            some = ids[start : start + _MANY]
            marks = ",".join("?" * len(some))
            select = f"SELECT id, row, metadata, content_hash, uri FROM items WHERE id IN ({marks})"
            for item_id, row, metadata, content_hash, uri in self._connection.execute(select, some):
                found[item_id] = Known(row, metadata, content_hash, uri)
        return found

    def put(self, items: Sequence[Item]) -> None:
        """Insert or replace items, by id, in one transaction: when this returns they survive power loss.

        New ids get the next rows; known ids keep theirs. Raises InvalidInput for a bad id and WrongDimension, in which
        case nothing is written.
        """
        if not items:
            return
        known = self.known([item.id for item in items])
        with self._transaction():
            row = self.count
            for item in items:
                check_id(item.id)
                if item.id in known:
                    self._replace(item, known[item.id].row)
                else:
                    self._insert(item, row)
                    known[item.id] = Known(row, item.metadata, item.content_hash, item.uri)
                    row += 1
            self._connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'seq'")

    def _insert(self, item: Item, row: int) -> None:
        blob = self._blob(item.embedding)
        self._connection.execute(
            "INSERT INTO items (row, id, metadata, uri, content_hash, embedding, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row, item.id, item.metadata, item.uri, item.content_hash, blob, checksum(blob)),
        )

    def _replace(self, item: Item, row: int) -> None:
        self._connection.execute(
            "UPDATE items SET metadata = ?, uri = ?, content_hash = ? WHERE row = ?",
            (item.metadata, item.uri, item.content_hash, row),
        )
        if item.embedding is not None:
            blob = self._blob(item.embedding)
            self._connection.execute(
                "UPDATE items SET embedding = ?, checksum = ? WHERE row = ?", (blob, checksum(blob), row)
            )

    def _blob(self, embedding: NDArray[np.float16] | None) -> bytes:
        if embedding is None:
            raise ValueError("a new item needs an embedding")
        if embedding.shape != (self.dimension,):
            raise WrongDimension(f"the vector has {embedding.size} coordinates instead of {self.dimension}")
        return np.ascontiguousarray(embedding, dtype="<f2").tobytes()

    def embeddings(self) -> Iterator[NDArray[np.float16]]:
        """Yield all embeddings by row as float16 [m, dimension]; raises UnusableIndex at one that is damaged."""
        cursor = self._connection.execute("SELECT row, embedding, checksum FROM items ORDER BY row")
        while rows := cursor.fetchmany(_READ_BLOCK):
            for row, blob, expected in rows:
                if len(blob) != 2 * self.dimension or checksum(blob) != expected:
                    raise UnusableIndex(
                        f"{self._path} is damaged: the embedding of row {row} does not match its checksum"
                    )
            joined = b"".join(blob for _, blob, _ in rows)
            yield np.frombuffer(joined, dtype="<f2").reshape(len(rows), self.dimension)

    def ids(self) -> Iterator[str]:
        """Yield all ids by row."""
        for (item_id,) in self._connection.execute("SELECT id FROM items ORDER BY row"):
            yield item_id

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._connection)

    def close(self) -> None:
        """Fold the log into the file, close it and let the next writer in."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Transaction:
    """``BEGIN IMMEDIATE`` … ``COMMIT``, or ``ROLLBACK`` on an exception."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _take_lock(path: Path) -> BinaryIO:
    """Lock a file until it is closed or the process ends, however it ends; raises UnusableIndex where it is taken."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UnusableIndex(f"{path.parent} is being written by another process") from error
    return file


def _short(model_hash: object) -> str:
    return "unknown" if model_hash is None else f"{model_hash}"[:12]
