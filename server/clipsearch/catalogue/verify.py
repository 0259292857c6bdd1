"""Is what is stored what was written? Reads everything, while others may write."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from clipsearch.catalogue.failures import storage_errors
from clipsearch.catalogue.items import checksum
from clipsearch.catalogue.schema import catalogue_file, connect_reader
from clipsearch.ports import Rows

_PROBLEMS = 100
"""Problems that are listed, of the catalogue and of the index; what is damaged all over needs no longer list."""


class Ids(Protocol):
    """The ids of an index by position."""

    def __getitem__(self, position: int) -> str:
        """Return the id at a position."""
        ...


@dataclass(frozen=True, slots=True)
class DerivedIndex:
    """What an index says it holds: the rows int64 [n] that lived at ``seq``, and their ids."""

    seq: int
    rows: Rows
    ids: Ids


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: how many rows there are, one sentence for each problem, and the ids of damaged embeddings."""

    live: int
    tombstones: int
    problems: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return not (self.problems or self.damaged)


def verify_catalogue(collection: Path, index: DerivedIndex | None = None) -> Verification:
    """Check the file's structure, every row's checksum and numbers, and that ``index`` agrees where one is given.

    Raises UnusableIndex where the file cannot be opened, StorageFailed where the disk fails; damage is reported.
    """
    path = catalogue_file(collection)
    with closing(connect_reader(path)) as connection, storage_errors(path):
        # One state for all that is compared; it keeps the log from being folded meanwhile, which only costs space.
        connection.execute("BEGIN")
        structure = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        if structure:
            # Reading on through a broken tree would report consequences, or fail.
            return Verification(0, 0, tuple(f"structure: {text}" for text in structure[:_PROBLEMS]), ())
        return _verify_rows(connection, index)


def _verify_rows(connection: sqlite3.Connection, index: DerivedIndex | None) -> Verification:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    comparison = None if index is None else _Comparison(index, meta["seq"])
    counts = [0, 0]
    problems: list[str] = []
    damaged: list[str] = []
    select = "SELECT row, id, embedding, checksum, seq, deleted_seq FROM items ORDER BY row"
    for row, item_id, blob, stored, seq, deleted_seq in connection.execute(select):
        counts[deleted_seq is not None] += 1
        intact = len(blob) == 2 * meta["dimension"] and checksum(blob) == stored
        if not intact:
            damaged.append(item_id)
        if row >= meta["next_row"] or max(seq, deleted_seq or 0) > meta["seq"]:
            problems.append(f"row {row} of sequence number {seq} is newer than the catalogue says it is")
        if comparison is not None:
            comparison.take(row, item_id, seq, deleted_seq, intact=intact)
    found = problems[:_PROBLEMS] + ([] if comparison is None else comparison.finish()[:_PROBLEMS])
    return Verification(counts[0], counts[1], tuple(found), tuple(damaged))


@dataclass(slots=True)
class _Comparison:
    """Goes through the rows of an index beside those of its catalogue, both ascending."""

    index: DerivedIndex
    seq: int
    problems: list[str] = field(default_factory=list)
    _at: int = 0

    def __post_init__(self) -> None:
        if self.index.seq > self.seq:
            self.problems.append(
                f"the index is of sequence number {self.index.seq}, the catalogue only of {self.seq}: "
                "it belongs to another one"
            )
        elif np.any(np.diff(self.index.rows) <= 0):
            self.problems.append("the rows of the index are not ascending")

    def take(self, row: int, item_id: str, seq: int, deleted_seq: int | None, *, intact: bool) -> None:
        """Compare the next row of the catalogue."""
        self._skip_below(row)
        lived = seq <= self.index.seq and (deleted_seq is None or deleted_seq > self.index.seq)
        if self._at == len(self.index.rows) or self.index.rows[self._at] != row:
            if lived and intact:
                self.problems.append(f"the index lacks row {row} ({item_id!r})")
            return
        called = self.index.ids[self._at]
        self._at += 1
        if not lived:
            self.problems.append(f"the index holds row {row} ({called!r}), which did not live at its sequence number")
        elif called != item_id:
            self.problems.append(f"the index calls row {row} {called!r}, the catalogue {item_id!r}")

    def finish(self) -> list[str]:
        """Return all problems, once the catalogue has no more rows."""
        self._skip_below(np.iinfo(np.int64).max)
        return self.problems

    def _skip_below(self, row: int) -> None:
        while self._at < len(self.index.rows) and self.index.rows[self._at] < row:
            self.problems.append(f"the index holds row {self.index.rows[self._at]}, which the catalogue has not")
            self._at += 1
