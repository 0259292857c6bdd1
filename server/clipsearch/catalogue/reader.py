"""Reading the catalogue while others may write it."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from clipsearch.catalogue.schema import catalogue_file, connect_reader
from clipsearch.errors import UnusableIndex

_MANY = 500
"""Rows asked for in one statement; each number of placeholders up to it is a statement that SQLite caches."""


class CatalogueReader:
    """Looks items up by row and by id. Thread-safe: a lock serialises the calls, each of which takes microseconds."""

    def __init__(self, collection: str | Path) -> None:
        """Open the catalogue of a collection directory; raises UnusableIndex where it cannot be read."""
        self._path = catalogue_file(Path(collection))
        self._connection = connect_reader(self._path)
        self._lock = threading.Lock()
        meta = dict(self._connection.execute("SELECT key, value FROM meta"))
        if "dimension" not in meta or "seq" not in meta:
            self._connection.close()
            raise UnusableIndex(f"{self._path} was never finished; run `clipsearch index build` again")
        self.dimension = int(meta["dimension"])
        self.model_hash: str | None = meta.get("model_hash")

    def seq(self) -> int:
        """Return the sequence number of the last committed write."""
        with self._lock:
            return int(self._connection.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()[0])

    def count(self) -> int:
        """Return the number of items; rows are dense, so the highest one tells without counting."""
        with self._lock:
            return int(self._connection.execute("SELECT coalesce(max(row) + 1, 0) FROM items").fetchone()[0])

    def row_of(self, item_id: str) -> int | None:
        """Return the row of an item, None where there is no such id."""
        with self._lock:
            found = self._connection.execute("SELECT row FROM items WHERE id = ?", (item_id,)).fetchone()
        return None if found is None else int(found[0])

    def metadata(self, rows: Sequence[int]) -> list[dict[str, object]]:
        """Return the metadata of each of ``rows``, in their order; raises UnusableIndex for a row that is not there."""
        return [json.loads(text) for text in self._column("metadata", rows)]

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Return the id of each of ``rows``, in their order; raises UnusableIndex for a row that is not there."""
        return self._column("id", rows)

    def _column(self, column: str, rows: Sequence[int]) -> list[str]:
        wanted = [int(row) for row in rows]
        found: dict[int, str] = {}
        for start in range(0, len(wanted), _MANY):
            some = wanted[start : start + _MANY]
            marks = ",".join("?" * len(some))
            with self._lock:
                found.update(self._connection.execute(f"SELECT row, {column} FROM items WHERE row IN ({marks})", some))
        try:
            return [found[row] for row in wanted]
        except KeyError as error:
            raise UnusableIndex(f"{self._path} has no row {error}: it is not what the index was built from") from error

    def close(self) -> None:
        """Close the file; no call may follow."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
