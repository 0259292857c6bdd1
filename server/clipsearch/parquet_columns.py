"""Columns of Parquet files as this package reads them: vectors, and values that JSON can hold."""

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput

BLOCK = 4096
"""Rows read at once."""


def open_parquet_file(path: Path) -> Any:
    """Open a ``pyarrow.parquet.ParquetFile``; raises InvalidInput where it is none."""
    import pyarrow
    import pyarrow.parquet

    try:
        # Without reading ahead, which would hold a whole row group: its rows may be pictures.
        return pyarrow.parquet.ParquetFile(path, pre_buffer=False)
    except pyarrow.ArrowInvalid as error:
        raise InvalidInput(f"{path} is not a readable Parquet file: {error}", field="source") from error


def says(schema: Any, key: str) -> str | None:
    """Return what a file's own metadata have under a key, None where there is none."""
    value = (schema.metadata or {}).get(key.encode())
    return None if value is None else value.decode(errors="replace")


def embedding_dimension(path: Path, file: Any, column: str) -> int:
    """Return the length of the vectors in a column of a ``ParquetFile``; raises InvalidInput unless it holds some."""
    from pyarrow import types

    kind = file.schema_arrow.field(column).type
    if not (types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)) or not (
        types.is_floating(kind.value_type)
    ):
        raise InvalidInput(f"{path}: column {column} is {kind}, not lists of floats", field="source")
    if types.is_fixed_size_list(kind):
        return int(kind.list_size)
    # Lists of any length: the first that is there says what the others should be.
    for batch in file.iter_batches(batch_size=BLOCK, columns=[column]):
        for value in batch.column(0):
            if value.is_valid and len(value) > 0:
                return len(value)
    raise InvalidInput(f"{path}: column {column} is empty", field="source")


def vectors(column: Any) -> list[NDArray[Any] | None]:
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


def plain(value: object) -> object:
    """Turn what Arrow has and JSON has not into texts and numbers."""
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return float(value)
        case list():
            return [plain(part) for part in value]
        case Mapping():
            return {str(name): plain(part) for name, part in value.items()}
        case _:
            return value
