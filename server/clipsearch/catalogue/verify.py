"""Is what is stored what was written? Reads everything, while others may write."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsearch.catalogue.failures import storage_errors
from clipsearch.catalogue.items import checksum
from clipsearch.catalogue.schema import catalogue_file, connect_reader
from clipsearch.ports import Rows

_PROBLEMS = 100
"""Problems of one kind that are listed; a file that is damaged all over needs no longer list."""


@dataclass(frozen=True, slots=True)
class DerivedIndex:
    """What an index says it holds: the rows int64 ascending that lived at ``seq``, and their ids."""

    seq: int
    rows: Rows
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: how many rows were read, one sentence for each problem, and the ids of damaged embeddings."""

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
        problems = [f"structure: {found}" for (found,) in connection.execute("PRAGMA integrity_check") if found != "ok"]
        if problems:
            # Reading on through a broken tree would report consequences, or fail.
            return Verification(0, 0, tuple(problems[:_PROBLEMS]), ())
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        live = tombstones = 0
        damaged: list[str] = []
        damaged_rows: set[int] = set()
        expected: dict[int, str] = {}
        numbers: list[str] = []
        select = "SELECT row, id, embedding, checksum, seq, deleted_seq FROM items ORDER BY row"
        for row, item_id, blob, stored, seq, deleted_seq in connection.execute(select):
            live += deleted_seq is None
            tombstones += deleted_seq is not None
            if len(blob) != 2 * meta["dimension"] or checksum(blob) != stored:
                damaged.append(item_id)
                damaged_rows.add(row)
            if row >= meta["next_row"] or max(seq, deleted_seq or 0) > meta["seq"]:
                numbers.append(f"row {row} of sequence number {seq} is newer than the catalogue says it is")
            if index is not None and seq <= index.seq and (deleted_seq is None or deleted_seq > index.seq):
                expected[row] = item_id
    problems += numbers[:_PROBLEMS]
    if index is not None:
        problems += _disagreements(index, expected, damaged_rows, int(meta["seq"]))
    return Verification(live, tombstones, tuple(problems), tuple(damaged))


def _disagreements(index: DerivedIndex, expected: dict[int, str], damaged: set[int], seq: int) -> list[str]:
    if index.seq > seq:
        return [f"the index is of sequence number {index.seq}, the catalogue only of {seq}: it belongs to another one"]
    found = []
    for row, item_id in zip(index.rows.tolist(), index.ids, strict=True):
        if row not in expected:
            found.append(f"the index holds row {row} ({item_id!r}), which did not live at its sequence number")
        elif expected[row] != item_id:
            found.append(f"the index calls row {row} {item_id!r}, the catalogue {expected[row]!r}")
    missing = sorted(expected.keys() - damaged - set(index.rows.tolist()))
    found += [f"the index lacks row {row} ({expected[row]!r})" for row in missing]
    if np.any(np.diff(index.rows) <= 0):
        found.append("the rows of the index are not ascending")
    return found[:_PROBLEMS]
