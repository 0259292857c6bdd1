"""Ready embeddings as a source: an ``.npy`` array with ids, or Parquet with a column of vectors."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.errors import BadMetadata, InvalidInput, WrongDimension, WrongModel
from clipsearch.ingest.columns import Columns, Mapped
from clipsearch.ingest.reasons import BadRecord, Rejects
from clipsearch.ingest.records import Found, Record, Unusable
from clipsearch.item_files import CURRENT_ITEMS_VERSION, ITEMS_VERSION, WEIGHT_HASH
from clipsearch.parquet_columns import BLOCK, embedding_dimension, open_parquet_file, plain, says, vectors
from clipsearch.tables import column_names, count_rows, is_table, read_rows

EMBEDDING = "embedding"
"""The column of vectors in files that this package writes."""


class NpySource:
    """A float array [n, dimension], memory-mapped. The rows of a table, if there is one, belong to its rows in order.

    An item's id is its table row's, or else its row number from 0. Positions count rows.
    """

    def __init__(self, path: Path, mapped: Mapped, table: Path | None) -> None:
        """Raises InvalidInput where the array is none, of another shape or type, or of another length than the table.

        Without ``table`` the file beside it that ``clipsearch embed`` writes is taken where it is there.
        """
        self.path = path
        beside = path.with_name(path.name + ".ids.jsonl")
        self._table = table or (beside if beside.exists() else None)
        try:
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise InvalidInput(f"{path} is not a readable .npy file: {error}", field="source") from error
        if self._array.ndim != 2 or self._array.shape[1] == 0 or self._array.dtype.kind != "f":
            raise InvalidInput(
                f"{path} holds {self._array.dtype} {self._array.shape}, not floats [n, dimension]", field="source"
            )
        self._columns = None if self._table is None else self._resolve(self._table, mapped)
        self.position = 0

    def _resolve(self, table: Path, mapped: Mapped) -> Columns:
        if not is_table(table):
            raise InvalidInput(f"{table} is neither .csv, .tsv, .jsonl nor .ndjson", field="metadata")
        if (rows := count_rows(table)) != len(self._array):
            raise InvalidInput(f"{table} has {rows} rows, but {self.path} has {len(self._array)}: joined in order")
        return mapped.resolve(column_names(table), table.name, needs_content=False)

    def check_model(self, dimension: int, weight_hash: str) -> None:
        """Raise WrongDimension unless the vectors are as long as the model's; of which model they are nothing tells."""
        _check_dimension(self.path, self._array.shape[1], dimension)

    def size(self) -> int:
        """Rows in all."""
        return len(self._array)

    def records(self, rejects: Rejects) -> Iterator[Found]:
        """Yield an item for each row, in order."""
        columns, rows = self._columns, None
        if self._table is not None and columns is not None:
            rows = read_rows(self._table, columns.texts)
        for number, vector in enumerate(self._array):
            self.position = number + 1
            where, item_id = f"{self.path.name}:{number}", str(number)
            metadata: Mapping[str, object] = {}
            uri = ""
            if rows is not None and columns is not None:
                row = next(rows)
                try:
                    if row.values is None:
                        raise BadRecord("ROW_NOT_READABLE", row.problem)
                    item_id = columns.item_id(row.values) or item_id
                except BadRecord as error:
                    rejects.add(where, error.reason, error.message)
                    continue
                metadata, uri = columns.metadata(row.values), columns.uri_of(row.values)
            yield Record(where, item_id, vector=vector, metadata=metadata, uri=uri)


class EmbeddingsSource:
    """Parquet with an id and a column of vectors; the other columns are metadata. Positions count rows.

    Of a collection that a server wrote out, metadata and uri are those of its items.
    """

    def __init__(self, path: Path, mapped: Mapped, column: str = EMBEDDING) -> None:
        """Raises InvalidInput where the file is not Parquet, or lacks one of the columns."""
        self.path = path
        self._column = column
        self._file = open_parquet_file(path)
        schema = self._file.schema_arrow
        if column not in schema.names:
            raise InvalidInput(f"{path} has no column {column}; it has {', '.join(schema.names)}", field="source")
        self._dimension = embedding_dimension(path, self._file, column)
        self._weight_hash = says(schema, WEIGHT_HASH)
        version = says(schema, ITEMS_VERSION)
        if version not in {None, CURRENT_ITEMS_VERSION}:
            raise InvalidInput(f"{path} is an export of version {version}, which this release does not read")
        self._exported = version is not None
        names = [name for name in schema.names if name != column]
        self._columns = mapped.resolve(names, path.name, needs_content=False)
        if self._columns.id is None:
            raise InvalidInput(f"name the id with --id-column: {path} has the columns {', '.join(schema.names)}")
        self.position = 0

    def check_model(self, dimension: int, weight_hash: str) -> None:
        """Raise WrongDimension or WrongModel where the vectors do not compare with the model's."""
        _check_dimension(self.path, self._dimension, dimension)
        if self._weight_hash not in {None, weight_hash}:
            raise WrongModel(
                f"the vectors of {self.path} were made by another model (weights {self._weight_hash:.12}, the server "
                f"has {weight_hash:.12}); they do not compare",
                field="source",
            )

    def size(self) -> int:
        """Rows in all."""
        return int(self._file.metadata.num_rows)

    def records(self, rejects: Rejects) -> Iterator[Found]:
        """Yield an item for each row, in order."""
        self.position = 0
        for batch in self._file.iter_batches(batch_size=BLOCK):
            given = vectors(batch.column(self._column))
            for vector, row in zip(given, batch.drop_columns([self._column]).to_pylist(), strict=True):
                where = f"{self.path.name}:{self.position}"
                self.position += 1
                found = self._found(where, vector, {name: plain(value) for name, value in row.items()}, rejects)
                if found is not None:
                    yield found

    def _found(self, where: str, vector: Any, values: dict[str, object], rejects: Rejects) -> Found | None:
        columns = self._columns
        try:
            item_id = columns.item_id(values)
            if item_id is None:
                raise BadRecord("ID_MISSING", f"the row has no value for {columns.id}")
        except BadRecord as error:
            rejects.add(where, error.reason, error.message)
            return None
        try:
            metadata = self._exported_metadata(values) if self._exported else columns.metadata(values)
        except BadMetadata as error:
            return Unusable(where, item_id, BadRecord(error.reason, error.message))
        return Record(where, item_id, vector=vector, metadata=metadata, uri=columns.uri_of(values))

    def _exported_metadata(self, values: Mapping[str, object]) -> dict[str, object]:
        try:
            metadata = json.loads(f"{values.get('metadata') or '{}'}")
        except (ValueError, RecursionError) as error:
            raise BadMetadata(f"metadata is not valid JSON: {error}", field="metadata") from error
        if not isinstance(metadata, dict):
            raise BadMetadata("metadata is not a JSON object", field="metadata")
        return metadata


def _check_dimension(path: Path, given: int, wanted: int) -> None:
    if given != wanted:
        raise WrongDimension(f"{path} holds vectors of dimension {given}, the collection has {wanted}", field="source")
