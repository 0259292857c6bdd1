"""Tables as sources: CSV, TSV, JSON Lines and Parquet, a row an item."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipsearch.ingest.columns import Columns, Mapped
from clipsearch.ingest.reasons import BadRecord, Rejects
from clipsearch.ingest.records import Found
from clipsearch.parquet_columns import open_parquet_file, plain
from clipsearch.tables import column_names, read_rows

PARQUET_BLOCK = 256
"""Rows of Parquet read at once; a row may hold its pictures."""


class TableSource:
    """The rows of text tables, one file after the other. Positions count bytes."""

    def __init__(self, files: Sequence[Path], mapped: Mapped) -> None:
        """Raises InvalidInput where a column that is needed cannot be found."""
        self._files = [(file, mapped.resolve(column_names(file), file.name)) for file in files]
        self.position = 0

    def size(self) -> int:
        """Bytes in all."""
        return sum(file.stat().st_size for file, _ in self._files)

    def records(self, rejects: Rejects) -> Iterator[Found]:
        """Yield an item for each row, in order."""
        before = 0
        for file, columns in self._files:
            for row in read_rows(file, columns.texts):
                self.position = before + row.end
                where = f"{file.name}:{row.line}"
                if row.values is None:
                    rejects.add(where, "ROW_NOT_READABLE", row.problem)
                else:
                    yield from row_record(columns, where, row.values, file.parent, rejects)
            before += file.stat().st_size


class ParquetSource:
    """The rows of Parquet files, one file after the other. Positions count rows, from 1 in ``where``."""

    def __init__(self, files: Sequence[Path], mapped: Mapped) -> None:
        """Raises InvalidInput where a file is not Parquet, or a column that is needed cannot be found."""
        self._files = [(file, mapped.resolve(_names(file), file.name)) for file in files]
        self.position = 0

    def size(self) -> int:
        """Rows in all."""
        return sum(_rows(file) for file, _ in self._files)

    def records(self, rejects: Rejects) -> Iterator[Found]:
        """Yield an item for each row, in order."""
        for path, columns in self._files:
            for number, values in enumerate(_values(path, columns), 1):
                self.position += 1
                yield from row_record(columns, f"{path.name}:{number}", values, path.parent, rejects)


def row_record(
    columns: Columns, where: str, values: Mapping[str, object], base: Path, rejects: Rejects
) -> Iterator[Found]:
    """Yield what a row is; one whose id is not known is listed instead."""
    try:
        item_id = columns.item_id(values)
        if item_id is None:
            raise BadRecord("ID_MISSING", f"the row has no value for {columns.id}")
    except BadRecord as error:
        rejects.add(where, error.reason, error.message)
        return
    yield columns.record(where, item_id, values, base)


def _names(path: Path) -> list[str]:
    return list(open_parquet_file(path).schema_arrow.names)


def _rows(path: Path) -> int:
    return int(open_parquet_file(path).metadata.num_rows)


def _values(path: Path, columns: Columns) -> Iterator[dict[str, object]]:
    file: Any = open_parquet_file(path)
    for batch in file.iter_batches(batch_size=PARQUET_BLOCK):
        for row in batch.to_pylist():
            yield {name: plain(value) for name, value in row.items()}
