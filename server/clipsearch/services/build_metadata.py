"""Metadata files: CSV or JSON Lines, one object per item, joined with pictures by path or id."""

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsearch.catalogue.items import metadata_json
from clipsearch.errors import InvalidInput
from clipsearch.services.build_report import Rejects

JSON_LINES = {".jsonl", ".ndjson"}

NAMES = {"id", "image"}
"""CSV columns that stay text whatever they look like: ``007`` is not 7."""

# What JSON would write for the number; "007", "1e3" and "+5" are texts.
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,14})")
_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")
_BOOLEAN = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """One row: where it stands, its id and picture if it names them, and everything but the id as JSON."""

    where: str
    id: str | None
    image: str | None
    json: str


def read_metadata(path: Path, rejects: Rejects) -> Iterator[MetadataRow | None]:
    """Yield the rows of a CSV, TSV or JSON Lines file in order, None for one that cannot be read (it is listed).

    A CSV column whose every value is a number, or ``true``/``false``, becomes numbers or booleans; empty cells are left
    out. Raises InvalidInput for any other kind of file.
    """
    suffix = path.suffix.lower()
    if suffix in JSON_LINES:
        numbered = _json_lines(path, rejects)
    elif suffix in {".csv", ".tsv"}:
        numbered = _csv_rows(path, "\t" if suffix == ".tsv" else ",")
    else:
        raise InvalidInput(f"{path} is neither .csv, .tsv, .jsonl nor .ndjson", field="metadata")
    for line, values in numbered:
        where = f"{path.name}:{line}"
        try:
            yield None if values is None else _row(where, values)
        except InvalidInput as error:
            rejects.add(where, "METADATA_NOT_USABLE", error.message)
            yield None


def count_rows(path: Path) -> int:
    """Return how many rows ``read_metadata`` yields, listing nothing."""
    if path.suffix.lower() in JSON_LINES:
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    return sum(1 for _ in _csv_cells(path, "\t" if path.suffix.lower() == ".tsv" else ","))


def _row(where: str, values: Mapping[str, object]) -> MetadataRow:
    item_id, image = values.get("id"), values.get("image")
    if isinstance(item_id, int | float) and not isinstance(item_id, bool):
        item_id = str(item_id)
    if not isinstance(item_id, str | None) or not isinstance(image, str | None):
        raise InvalidInput("id and image must be texts", field="metadata")
    rest = {name: value for name, value in values.items() if name != "id"}
    return MetadataRow(where, item_id or None, image or None, metadata_json(rest))


def _json_lines(path: Path, rejects: Rejects) -> Iterator[tuple[int, Mapping[str, object] | None]]:
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                values = json.loads(text)
            except ValueError as error:  # UnicodeDecodeError is one too
                rejects.add(f"{path.name}:{line}", "METADATA_NOT_USABLE", f"not valid JSON: {error}")
                yield line, None
                continue
            if isinstance(values, dict):
                yield line, values
            else:
                rejects.add(f"{path.name}:{line}", "METADATA_NOT_USABLE", "not a JSON object")
                yield line, None


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    kinds = _csv_kinds(path, delimiter)
    for line, cells in _csv_cells(path, delimiter):
        yield line, {name: _value(cell, kinds[name]) for name, cell in cells.items() if cell}


def _csv_cells(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, restval="", restkey=None)
        for cells in reader:
            # Cells beyond the header come as a list under None: they have no name, so nobody could ask for them.
            yield reader.line_num, {name: cell for name, cell in cells.items() if isinstance(name, str)}


def _csv_kinds(path: Path, delimiter: str) -> dict[str, str]:
    """Return for each column ``integer``, ``decimal``, ``boolean`` or ``text``: the first that fits all its values."""
    fits: dict[str, dict[str, bool]] = {}
    for _, cells in _csv_cells(path, delimiter):
        for name, cell in cells.items():
            kinds = fits.setdefault(name, dict.fromkeys(("integer", "decimal", "boolean"), name not in NAMES))
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


class PictureMetadata:
    """Metadata rows to be claimed by pictures, once each.

    A row belongs to the picture that its ``image`` names, relative to the source directory or else to the metadata
    file; without ``image`` to the one whose relative path, with or without suffix, is its ``id``. Kept in memory as
    JSON texts, some hundred bytes a row.
    """

    def __init__(self, path: Path, root: Path, rejects: Rejects) -> None:
        """Read the file; rows of neither id nor image, and second rows of one key, are listed in ``rejects``."""
        self._by_path: dict[str, MetadataRow] = {}
        self._by_id: dict[str, MetadataRow] = {}
        self._rejects = rejects
        for row in read_metadata(path, rejects):
            if row is None:
                continue
            if row.image is not None:
                self._keep(self._by_path, _relative(row.image, root, path.parent), row)
            elif row.id is not None:
                self._keep(self._by_id, row.id, row)
            else:
                rejects.add(row.where, "METADATA_NOT_USABLE", "the row has neither id nor image")

    def _keep(self, rows: dict[str, MetadataRow], key: str, row: MetadataRow) -> None:
        if key in rows:
            self._rejects.add(row.where, "METADATA_DUPLICATE", f"{rows[key].where} is about {key!r} already")
        else:
            rows[key] = row

    def claim(self, relative: str) -> MetadataRow | None:
        """Return and remove the row of a picture, given its path relative to the source directory."""
        stem = os.path.splitext(relative)[0]  # noqa: PTH122  (a string with forward slashes, not a path of this system)
        for rows, key in ((self._by_path, relative), (self._by_id, relative), (self._by_id, stem)):
            if key in rows:
                return rows.pop(key)
        return None

    def report_unclaimed(self) -> int:
        """List the rows that no picture has claimed and return how many there are."""
        left = [*self._by_path.values(), *self._by_id.values()]
        for row in left:
            name = row.image or row.id
            self._rejects.add(row.where, "METADATA_WITHOUT_PICTURE", f"no picture {name!r} in the source")
        return len(left)


def _relative(image: str, root: Path, base: Path) -> str:
    """Return a picture's path relative to ``root``, with forward slashes."""
    given = image.replace("\\", "/")
    for start in (root, base):
        path = Path(os.path.abspath(start / given))  # noqa: PTH100  (resolve would follow links out of the source)
        if path.is_relative_to(os.path.abspath(root)) and path.exists():  # noqa: PTH100
            return path.relative_to(os.path.abspath(root)).as_posix()  # noqa: PTH100
    return given
