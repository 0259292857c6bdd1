"""Parquet as a source of ready vectors: its other columns become metadata, unless it is an exported collection."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from clipsearch.catalogue.items import metadata_json
from clipsearch.errors import ClipsearchError, InvalidInput
from clipsearch.item_files import ITEMS_VERSION, WEIGHT_HASH
from clipsearch.parquet_columns import BLOCK, embedding_dimension, open_parquet_file, plain, says, vectors
from clipsearch.picture_metadata import MetadataRow
from clipsearch.services.build_exported import check_exported, exported_row
from clipsearch.services.build_metadata import read_metadata
from clipsearch.services.build_report import Rejects, Tally
from clipsearch.services.build_vectors import VectorRow, VectorSource, vector_hash

Vector = NDArray[Any] | None
Columns = Mapping[str, object]
"""The values of a row's columns but for the embedding, by name."""


def open_parquet(path: Path, metadata: Path | None, rejects: Rejects, tally: Tally) -> VectorSource:
    """Open a file with a column ``id`` and a column ``embedding`` (lists of floats); the others become metadata.

    In a file that an export wrote they are the item's own metadata, uri and content hash. Rows of a ``metadata`` file
    are added by id and win over what has the same name. Raises InvalidInput where the file lacks a column or its
    columns are something else.
    """
    file = open_parquet_file(path)
    schema = file.schema_arrow
    missing = {"id", "embedding"} - set(schema.names)
    if missing:
        raise InvalidInput(f"{path} has no column {' and no column '.join(sorted(missing))}", field="source")
    dimension = embedding_dimension(path, file, "embedding")
    exported = says(schema, ITEMS_VERSION)
    if exported is not None:
        check_exported(path, schema, exported)

    joined = None if metadata is None else _by_id(metadata, rejects, tally)
    row = _row if exported is None else exported_row
    blocks = _Rows(path, row, joined, rejects, tally).blocks(file)
    return VectorSource(file.metadata.num_rows, dimension, says(schema, WEIGHT_HASH), blocks)


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
            given = vectors(batch.column("embedding"))
            rest = batch.drop_columns(["embedding"]).to_pylist()
            rows = [self._row(f"{self._path.name}:{number + i}", given[i], values) for i, values in enumerate(rest)]
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
    others = {name: plain(value) for name, value in values.items() if name != "id" and value is not None}
    content_hash = None if vector is None else vector_hash(vector)
    return VectorRow(where, item_id, vector, metadata_json(others), content_hash)


def _merged(metadata: str, over: str) -> str:
    return metadata_json(json.loads(metadata) | json.loads(over))


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
