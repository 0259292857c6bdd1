"""What ``clipsearch embed`` writes: vectors with their ids, and the list of what was left out.

Both formats stream: nothing of the size of the output is held. They go to a temporary name beside the output, which
takes the output's name when everything is in it; a run that fails leaves the old file, if any, as it was.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from clipsearch.errors import ConfigError
from clipsearch.item_files import WEIGHT_HASH
from clipsearch.ports import Vectors

ROWS_PER_GROUP = 4096
"""Rows gathered before they are written: one Parquet row group."""

Block = tuple[list[str], Vectors]
"""Ids and float32 [n, dimension], in the order of the source."""


class Output(ABC):
    """Takes blocks of rows. A context manager: what was not committed by its end is removed."""

    @abstractmethod
    def write(self, ids: list[str], vectors: Vectors) -> None:
        """Append rows: their ids and float32 [n, dimension]."""

    @abstractmethod
    def commit(self) -> None:
        """Finish and take the final name."""

    @abstractmethod
    def close(self) -> None:
        """Close, and remove temporary files that there still are."""

    def __enter__(self) -> Self:
        """Return the output itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class ParquetOutput(Output):
    """Columns ``id`` (string) and ``embedding`` (fixed-size list of float32); the weight hash in its metadata."""

    def __init__(self, path: Path, dimension: int, weight_hash: str) -> None:
        """Open the temporary file."""
        import pyarrow
        import pyarrow.parquet

        self._arrow: Any = pyarrow
        self._path, self._partial = path, _partial(path)
        vector = pyarrow.list_(pyarrow.float32(), dimension)
        fields = [pyarrow.field("id", pyarrow.string()), pyarrow.field("embedding", vector)]
        self._schema: Any = pyarrow.schema(fields, metadata={WEIGHT_HASH: weight_hash})
        self._writer: Any = pyarrow.parquet.ParquetWriter(self._partial, self._schema)

    def write(self, ids: list[str], vectors: Vectors) -> None:
        """Append a row group."""
        flat = self._arrow.array(vectors.reshape(-1))
        column = self._arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self._writer.write_batch(self._arrow.record_batch([self._arrow.array(ids), column], schema=self._schema))

    def commit(self) -> None:
        """Write the footer and rename."""
        self._writer.close()
        self._partial.replace(self._path)

    def close(self) -> None:
        """Close, and remove the temporary file if it is there still."""
        self._writer.close()
        self._partial.unlink(missing_ok=True)


class NpyOutput(Output):
    """float32 [n, dimension], and beside it ``FILE.ids.jsonl`` with one ``{"id": …}`` for each row, in order.

    The ids' file is what ``clipsearch index build FILE --metadata FILE.ids.jsonl`` takes.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        """Open the temporary files."""
        self._path, self._partial = path, _partial(path)
        self._ids_path = path.with_name(path.name + ".ids.jsonl")
        self._ids_partial = _partial(self._ids_path)
        self._rows, self._dimension = 0, dimension
        self._file = self._partial.open("wb")
        self._ids = self._ids_partial.open("w", encoding="utf-8")
        self._header()

    def write(self, ids: list[str], vectors: Vectors) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        self._ids.writelines(json.dumps({"id": item_id}, ensure_ascii=False) + "\n" for item_id in ids)
        self._rows += len(ids)

    def commit(self) -> None:
        """Put the number of rows into the header, and rename; the ids first, so that no array is ever without them."""
        self._file.seek(0)
        self._header()
        self._file.close()
        self._ids.close()
        self._ids_partial.replace(self._ids_path)
        self._partial.replace(self._path)

    def close(self) -> None:
        """Close, and remove the temporary files if they are there still."""
        self._file.close()
        self._ids.close()
        self._partial.unlink(missing_ok=True)
        self._ids_partial.unlink(missing_ok=True)

    def _header(self) -> None:
        # numpy pads the header so that a C-ordered array's first dimension can grow in place, for exactly this use.
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._rows, self._dimension)}
        np.lib.format.write_array_header_1_0(self._file, header)


def open_output(path: Path, dimension: int, weight_hash: str) -> Output:
    """Return the output that the file's name asks for. Raises ConfigError for another ending."""
    check_output(path)
    if path.suffix == ".npy":
        return NpyOutput(path, dimension)
    return ParquetOutput(path, dimension, weight_hash)


def check_output(path: Path) -> None:
    """Raise ConfigError unless the name ends in .parquet or .npy and its directory is there."""
    if path.suffix not in {".parquet", ".npy"}:
        raise ConfigError(f"the output's name must end in .parquet or .npy: {path}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"the output's directory does not exist: {path.absolute().parent}")


def gathered(blocks: Iterable[Block], rows: int = ROWS_PER_GROUP) -> Iterator[Block]:
    """Join small blocks until they have at least ``rows`` rows, the last one as it comes."""
    ids: list[str] = []
    parts: list[Vectors] = []
    for some_ids, vectors in blocks:
        ids += some_ids
        parts.append(vectors)
        if len(ids) >= rows:
            yield ids, np.concatenate(parts)
            ids, parts = [], []
    if ids:
        yield ids, np.concatenate(parts)


class Rejects:
    """``FILE.rejects.jsonl``: one line of id, reason and message for each item left out. No such item, no such file."""

    def __init__(self, output: Path) -> None:
        """Name the list after the output; the list of an earlier run is removed."""
        self.path = output.with_name(output.name + ".rejects.jsonl")
        self.path.unlink(missing_ok=True)
        self.count = 0

    def add(self, item_id: str, reason: str, message: str) -> None:
        """List one item."""
        if self.count == 0:
            self._file = self.path.open("w", encoding="utf-8", buffering=1)
        self.count += 1
        # Escaped, because a file name that is not valid Unicode must be listed too.
        self._file.write(json.dumps({"id": item_id, "reason": reason, "message": message}) + "\n")

    def __enter__(self) -> Self:
        """Return the list itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, if there is one."""
        if self.count:
            self._file.close()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
