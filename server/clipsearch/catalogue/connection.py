"""A read connection that threads use in turn."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.catalogue.failures import storage_errors
from clipsearch.catalogue.schema import connect_reader
from clipsearch.errors import CollectionNotFound
from clipsearch.ports import Rows


class SharedConnection:
    """One connection and its lock. Every call reads what is committed when it begins, and pins nothing afterwards.

    A call after ``close`` raises CollectionNotFound: collections are deleted while they are being read.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; raises UnusableIndex where it cannot be read."""
        self._path = path
        self._connection = connect_reader(path)
        self._lock = threading.Lock()
        self._closed = False

    def all(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all that a statement selects."""
        with self._opened():
            return self._connection.execute(statement, tuple(parameters)).fetchall()

    def numbers(self, statement: str, parameters: Sequence[object] = ()) -> Rows:
        """Return what a statement of one integer column selects, int64."""
        with self._opened():
            cursor = self._connection.execute(statement, tuple(parameters))
            return np.fromiter((number for (number,) in cursor), dtype=np.int64)

    @contextmanager
    def consistent(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for several statements that see one state."""
        with self._opened():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to read one state and to write temporary tables: all of what is written, or nothing."""
        with self._opened():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # After some failures SQLite has rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _opened(self) -> Iterator[None]:
        with self._lock, storage_errors(self._path):
            if self._closed:
                raise CollectionNotFound("the collection was closed meanwhile")
            yield

    def close(self) -> None:
        """Close the file once the call that runs is done."""
        with self._lock:
            self._closed = True
            self._connection.close()
