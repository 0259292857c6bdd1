"""Parquet as a source of ready vectors: its other columns become metadata, unless it is an exported collection."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.items import metadata_json
from clipsearch.errors import ClipsearchError, InvalidInput
from clipsearch.item_files import ITEMS_VERSION, WEIGHT_HASH
from clipsearch.services.build_exported import check_exported, exported_row
from clipsearch.services.build_metadata import MetadataRow, read_metadata
from clipsearch.services.build_report import Rejects, Tally
from clipsearch.services.build_vectors import BLOCK, VectorRow, VectorSource, vector_hash

Vector = NDArray[Any] | None
Columns = Mapping[str, object]
"""The values of a row's columns but for the embedding, by name."""


def open_parquet(path: Path, metadata: Path | None, rejects: Rejects, tally: Tally) -> VectorSource:
    """Open a file with a column ``id`` and a column ``embedding`` (lists of floats); the others become metadata.

    In a file that an export wrote they are the item's own metadata, uri and content hash. Rows of a ``metadata`` file
    are added by id and win over what has the same name. Raises InvalidInput where the file lacks a column or its
    columns are something else.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise InvalidInput(f"{path} is not a readable Parquet file: {error}", field="source") from error
    schema = file.schema_arrow
    missing = {"id", "embedding"} - set(schema.names)
    if missing:
        raise InvalidInput(f"{path} has no column {' and no column '.join(sorted(missing))}", field="source")
    dimension = _dimension(path, file, schema.field("embedding").type)
    exported = _says(schema, ITEMS_VERSION)
    if exported is not None:
        check_exported(path, schema, exported)

    joined = None if metadata is None else _by_id(metadata, rejects, tally)
    row = _row if exported is None else exported_row
    blocks = _Rows(path, row, joined, rejects, tally).blocks(file)
    return VectorSource(file.metadata.num_rows, dimension, _says(schema, WEIGHT_HASH), blocks)


def _says(schema: Any, key: str) -> str | None:
    value = (schema.metadata or {}).get(key.encode())
    return None if value is None else value.decode(errors="replace")


class _Rows:
    """Turns record batches into rows, joining metadata by id."""

    def __init__(
        self,
        path: Path,
        row: Callable[[str, str, Vector, Columns], VectorRow],
        joined: dict[str, MetadataRow] | None,
        rejects: Rejects,
        tally: Tally,
    ) -> None:
        self._path, self._make, self._joined, self._rejects, self._tally = path, row, joined, rejects, tally

    def blocks(self, file: Any) -> Iterator[Sequence[VectorRow]]:
        number = 0
        for batch in file.iter_batches(batch_size=BLOCK):
            vectors = _vectors(batch.column("embedding"))
            rest = batch.drop_columns(["embedding"]).to_pylist()
            rows = [self._row(f"{self._path.name}:{number + i}", vectors[i], values) for i, values in enumerate(rest)]
            yield [row for row in rows if row is not None]
            number += len(rest)
        for left in (self._joined or {}).values():
            self._tally.unmatched_metadata += 1
            self._rejects.add(
                left.where, "METADATA_WITHOUT_VECTOR", f"no row of {self._path.name} has the id {left.id!r}"
            )

    def _row(self, where: str, vector: Vector, values: Columns) -> VectorRow | None:
        item_id = "" if values["id"] is None else str(values["id"])
        extra = None
        if self._joined is not None:
            extra = self._joined.pop(item_id, None)
            self._tally.without_metadata += extra is None
        try:
            row = self._make(where, item_id, vector, values)
            return row if extra is None else replace(row, metadata=_merged(row.metadata, extra.json))
        except ClipsearchError as error:
            self._rejects.error(where, error)
            return None


def _row(where: str, item_id: str, vector: Vector, values: Columns) -> VectorRow:
    """A row of any file; raises BadMetadata where its other columns cannot be stored."""
    plain = {name: _plain(value) for name, value in values.items() if name != "id" and value is not None}
    content_hash = None if vector is None else vector_hash(vector)
    return VectorRow(where, item_id, vector, metadata_json(plain), content_hash)


def _merged(metadata: str, over: str) -> str:
    return metadata_json(json.loads(metadata) | json.loads(over))


def _dimension(path: Path, file: Any, kind: Any) -> int:
    from pyarrow import types

    if not (types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)) or not (
        types.is_floating(kind.value_type)
    ):
        raise InvalidInput(f"{path}: column embedding is {kind}, not lists of floats", field="source")
    if types.is_fixed_size_list(kind):
        return int(kind.list_size)
    # Lists of any length: the first that is there says what the others should be.
    for batch in file.iter_batches(batch_size=BLOCK, columns=["embedding"]):
        for value in batch.column(0):
            if value.is_valid and len(value) > 0:
                return len(value)
    raise InvalidInput(f"{path}: column embedding is empty", field="source")


def _vectors(column: Any) -> list[NDArray[Any] | None]:
    """Return each list as an array, None for null; slices of one flat array, not Python lists."""
    import pyarrow
    from pyarrow import types

    if types.is_fixed_size_list(column.type):
        # The flat values of a fixed-size list skip null lists, so offsets are counted over valid ones.
        flat, size = column.flatten().to_numpy(zero_copy_only=False), column.type.list_size
        ends = np.cumsum(column.is_valid().to_numpy(zero_copy_only=False)) * size
        return [
            flat[end - size : end] if ok else None for end, ok in zip(ends, column.is_valid().to_pylist(), strict=True)
        ]
    lists = column.cast(pyarrow.large_list(column.type.value_type))
    flat, offsets = lists.values.to_numpy(zero_copy_only=False), lists.offsets.to_numpy()
    valid = column.is_valid().to_pylist()
    return [flat[offsets[i] : offsets[i + 1]] if ok else None for i, ok in enumerate(valid)]


def _plain(value: object) -> object:
    """Turn what Arrow has and JSON has not into texts and numbers."""
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return float(value)
        case list():
            return [_plain(part) for part in value]
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items()}
        case _:
            return value


def _by_id(path: Path, rejects: Rejects, tally: Tally) -> dict[str, MetadataRow]:
    found: dict[str, MetadataRow] = {}
    for row in read_metadata(path, rejects):
        if row is None:
            continue
        if row.id is None or row.id in found:
            tally.unmatched_metadata += 1
            message = "the row has no id" if row.id is None else f"{found[row.id].where} is about {row.id!r} already"
            rejects.add(row.where, "METADATA_NOT_USABLE", message)
        else:
            found[row.id] = row
    return found
