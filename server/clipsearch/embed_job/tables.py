"""Columns of CSV, TSV, JSON Lines and Parquet files as sources, row by row."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from clipsearch.embed_job.items import Item, Kind, Problem
from clipsearch.embed_job.sources import picture, usable_id
from clipsearch.errors import InvalidInput
from clipsearch.fetch.urls import is_url
from clipsearch.parquet_columns import open_parquet_file
from clipsearch.picture_files import SUFFIXES
from clipsearch.tables import column_names, count_rows, read_cells

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PEEK_ROWS = 1000
"""Rows looked at to find out which columns there are and what the column holds."""

_PARQUET_ROWS = 128
"""Rows of a Parquet file in memory at a time: they may be pictures."""

Row = Mapping[str, Any] | Problem


class Table(ABC):
    """A file of rows with named columns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield every row, or the problem in its place. Values of columns not asked for may be left out."""

    @abstractmethod
    def count(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def columns(self) -> list[str]:
        """Return the names of the columns, as far as the first rows tell."""


class TextTable(Table):
    """CSV, TSV or JSON Lines, in UTF-8; CSV with a header."""

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows as they are written."""
        for row in read_cells(self.path):
            yield Problem("ROW_NOT_USABLE", row.problem) if row.values is None else row.values

    def count(self) -> int:
        """Count them by reading the file: a quoted cell may hold line breaks."""
        return count_rows(self.path)

    def columns(self) -> list[str]:
        """Return the header, or the names in the first objects."""
        return column_names(self.path, PEEK_ROWS)


class ParquetTable(Table):
    """A Parquet file. Pictures may lie in it: binary values, or structs with ``bytes`` and ``path``."""

    def __init__(self, path: Path) -> None:
        """Read its footer; raises InvalidInput where it has none."""
        super().__init__(path)
        self._file = open_parquet_file(path)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows."""
        for batch in self._file.iter_batches(_PARQUET_ROWS, columns=columns):
            yield from batch.to_pylist()

    def count(self) -> int:
        """Return what the footer says."""
        return int(self._file.metadata.num_rows)

    def columns(self) -> list[str]:
        """Return the schema's names."""
        return list(self._file.schema_arrow.names)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; an item's id is the value of ``id_column``, or else the row's number, from 1."""

    table: Table
    column: str
    id_column: str | None
    kind: Kind
    total: int
    repeatable: bool = True

    def items(self) -> Generator[Item, None, None]:
        """Yield one item for each row, in order."""
        wanted = [self.column] if self.id_column in {None, self.column} else [self.column, str(self.id_column)]
        for number, row in enumerate(self.table.rows(wanted), start=1):
            if isinstance(row, Problem):
                yield Item(str(number), row, row.message.encode())
            else:
                item_id = str(number) if self.id_column is None else _id_text(row.get(self.id_column))
                value = row.get(self.column)
                item = (
                    _text(item_id, value) if self.kind == "text" else _picture(item_id, value, self.table.path.parent)
                )
                yield item if self.id_column is None else usable_id(item)


def open_column(path: Path, column: str | None, id_column: str | None, kind: Kind | None) -> Column:
    """Return a column of a table.

    Without ``id_column`` that is ``id`` where there is such a column. Without ``kind`` the first value that is there
    tells: pictures where it is a URL, a picture's file name or binary, else texts. Raises InvalidInput for a column
    that is not there, with those that are.
    """
    suffix = path.suffix.lower()
    table = ParquetTable(path) if suffix == ".parquet" else TextTable(path)
    names = table.columns()
    known = f"{path} has the columns {', '.join(names)}" if names else f"{path} has no columns"
    if column is None:
        raise InvalidInput(f"name the column to embed with --column; {known}", field="column")
    for name in {column, id_column or column}:
        if name not in names:
            raise InvalidInput(f"there is no column {name!r}; {known}", field="column")
    if id_column is None and "id" in names:
        id_column = "id"
    return Column(table, column, id_column, kind or _kind_of(table, column), table.count())


def _kind_of(table: Table, column: str) -> Kind:
    for row in islice(table.rows([column]), PEEK_ROWS):
        value = row.get(column) if isinstance(row, Mapping) else None
        if value is None or value == "":
            continue
        if isinstance(value, str) and not is_url(value) and Path(value).suffix.lower() not in SUFFIXES:
            return "text"
        return "image"
    return "text"


def _id_text(value: object) -> str:
    """Return an id; what can't be one comes out as a text that ``usable_id`` refuses."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _text(item_id: str, value: object) -> Item:
    if value is None:
        return Item(item_id, Problem("VALUE_MISSING", "the row has no value in the column"), b"")
    if not isinstance(value, str):
        return Item(item_id, Problem("VALUE_NOT_TEXT", f"the value is no text but {type(value).__name__}"), b"")
    mark = value.encode("utf-8", "surrogatepass")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return Item(item_id, Problem("TEXT_NOT_UTF8", "the text is not valid Unicode"), mark)
    return Item(item_id, value, mark)


def _picture(item_id: str, value: object, base: Path) -> Item:
    if isinstance(value, Mapping):  # as Hugging Face's datasets store pictures
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Item(item_id, value, value)
    if isinstance(value, str | None):
        return picture(item_id, (value or "").strip(), base)
    return Item(item_id, Problem("VALUE_NOT_PICTURE", f"no path, URL or bytes but {type(value).__name__}"), b"")
