"""Tables in text files: CSV, TSV and JSON Lines, read row by row with typed values."""

import csv
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

JSON_LINES = {".jsonl", ".ndjson"}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

NAMES = frozenset({"id", "image"})
"""CSV columns that stay text whatever they look like: ``007`` is not 7."""

# What JSON would write for the number; "007", "1e3" and "+5" are texts.
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,14})")
_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")
_BOOLEAN = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: its line, its values by column, and None with the ``problem`` where it cannot be read.

    ``end`` is how many bytes of the file had been read with it: what progress is counted in.
    """

    line: int
    values: Mapping[str, object] | None
    problem: str = ""
    end: int = 0


def is_table(path: Path) -> bool:
    """Return whether a file's name says that it is a table of one of these kinds."""
    return path.suffix.lower() in JSON_LINES | set(_DELIMITERS)


def read_rows(path: Path, texts: Collection[str] = NAMES) -> Iterator[TableRow]:
    """Yield the rows of a table (``is_table``) in order.

    A CSV column whose every value is a number, or ``true``/``false``, becomes numbers or booleans, unless it is one of
    ``texts``; empty cells are left out. To know that, CSV is read twice.
    """
    if path.suffix.lower() in JSON_LINES:
        yield from _json_lines(path)
        return
    kinds = _csv_kinds(path, texts)
    for row in _csv_cells(path):
        if row.values is None:
            yield row
            continue
        values = {name: _value(f"{cell}", kinds[name]) for name, cell in row.values.items() if cell}
        yield TableRow(row.line, values, end=row.end)


def read_cells(path: Path) -> Iterator[TableRow]:
    """Yield the rows of a table in order as they are written: CSV cells stay text, whatever they look like.

    What is not UTF-8 in a cell is kept in surrogates, so that its user can tell, and it costs its own row alone.
    """
    return _json_lines(path) if path.suffix.lower() in JSON_LINES else _csv_cells(path, "surrogateescape")


def count_rows(path: Path) -> int:
    """Return how many rows ``read_rows`` and ``read_cells`` yield."""
    if path.suffix.lower() in JSON_LINES:
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    return sum(1 for _ in _csv_cells(path))


def column_names(path: Path, rows: int = 100) -> list[str]:
    """Return the columns of a table in order: a CSV's header, or the names in the first ``rows`` objects."""
    if path.suffix.lower() in JSON_LINES:
        names: dict[str, None] = {}
        for number, row in enumerate(_json_lines(path)):
            if number == rows:
                break
            names |= dict.fromkeys(row.values or ())
        return list(names)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return list(csv.DictReader(file, delimiter=_delimiter(path)).fieldnames or ())


def _json_lines(path: Path) -> Iterator[TableRow]:
    end = 0
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            end += len(text)
            if not text.strip():
                continue
            try:
                values = json.loads(text)
            except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError too
                yield TableRow(line, None, f"not valid JSON: {error}", end)
                continue
            if isinstance(values, dict):
                yield TableRow(line, values, end=end)
            else:
                yield TableRow(line, None, "not a JSON object", end)


def _csv_cells(path: Path, errors: str = "replace") -> Iterator[TableRow]:
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
    with path.open("rb") as raw, TextIOWrapper(raw, encoding="utf-8-sig", errors=errors, newline="") as file:
        reader = csv.DictReader(file, delimiter=_delimiter(path), restval="", restkey=None)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # such as a cell over the library's limit: a quote that is never closed
                yield TableRow(reader.line_num, None, f"not readable as CSV: {error}", raw.tell())
                continue
            # Cells beyond the header come as a list under None: they have no name, so nobody could ask for them.
            values = {name: cell for name, cell in cells.items() if isinstance(name, str)}
            yield TableRow(reader.line_num, values, end=raw.tell())


def _delimiter(path: Path) -> str:
    return _DELIMITERS[path.suffix.lower()]


def _csv_kinds(path: Path, texts: Collection[str]) -> dict[str, str]:
    """Return for each column ``integer``, ``decimal``, ``boolean`` or ``text``: the first that fits all its values."""
    fits: dict[str, dict[str, bool]] = {}
    for row in _csv_cells(path):
        for name, value in (row.values or {}).items():
            cell = f"{value}"
            kinds = fits.setdefault(name, dict.fromkeys(("integer", "decimal", "boolean"), name not in texts))
            if cell and any(kinds.values()):
                kinds["integer"] &= _INTEGER.fullmatch(cell) is not None
                kinds["decimal"] &= _DECIMAL.fullmatch(cell) is not None
                kinds["boolean"] &= cell.lower() in _BOOLEAN
    return {name: next((kind for kind, fit in kinds.items() if fit), "text") for name, kinds in fits.items()}


def _value(cell: str, kind: str) -> object:
    match kind:
        case "integer":
            return int(cell)
        case "decimal":
            return float(cell)
        case "boolean":
            return _BOOLEAN[cell.lower()]
        case _:
            return cell
