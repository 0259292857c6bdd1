"""Ready vectors as a source: what every kind yields, how vectors are checked, and the ``.npy`` kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import BadVector, InvalidInput
from clipsearch.ports import Vectors
from clipsearch.services.build_metadata import MetadataRow, count_rows, read_metadata
from clipsearch.services.build_report import Rejects, Tally

BLOCK = 4096
"""Vectors read, checked and committed at once."""

MIN_NORM = 1e-6
"""Below this a vector has no direction."""

UNIT_TOLERANCE = 1e-3
"""Vectors this close to unit length count as unit: float16 storage moves them as much."""


@dataclass(frozen=True, slots=True)
class VectorRow:
    """One item: where it stands, its id, its vector as given (None where it is missing) and its metadata as JSON."""

    where: str
    id: str
    vector: NDArray[Any] | None
    metadata: str


@dataclass(frozen=True, slots=True)
class VectorSource:
    """``size`` rows of ``dimension`` coordinates, in blocks."""

    size: int
    dimension: int
    blocks: Iterator[Sequence[VectorRow]]


def unit_rows(vectors: NDArray[Any], tally: Tally) -> tuple[Vectors, list[BadVector | None]]:
    """Scale [n, d] rows to unit length, float32; returns them with an error for each row that has no direction."""
    wide = np.asarray(vectors, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.square(wide).sum(axis=1))
    errors: list[BadVector | None] = [None] * len(wide)
    for i in np.flatnonzero(~np.isfinite(norms)):
        errors[i] = BadVector("the vector holds NaN or infinity")
    for i in np.flatnonzero(norms < MIN_NORM):
        errors[i] = BadVector("the vector has no length, so no direction")
    usable = np.array([error is None for error in errors], dtype=bool)
    tally.normalised += int((np.abs(norms[usable] - 1) > UNIT_TOLERANCE).sum())
    norms[~usable] = 1
    return (wide / norms[:, None]).astype(np.float32), errors


def open_npy(path: Path, metadata: Path | None, rejects: Rejects, tally: Tally) -> VectorSource:
    """Open a float array [n, d], memory-mapped; metadata rows belong to its rows in order.

    An item's id is its metadata row's, or else its row number. Raises InvalidInput where the array has another shape or
    type, or where there are more or fewer metadata rows.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InvalidInput(f"{path} is not a readable .npy file: {error}", field="source") from error
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind != "f":
        raise InvalidInput(f"{path} holds {array.dtype} {array.shape}, not floats [n, dimension]", field="source")
    size, dimension = array.shape
    if metadata is not None:
        rows = count_rows(metadata)
        if rows != size:
            raise InvalidInput(f"{metadata} has {rows} rows, but {path} has {size}; they are joined in order")

    def blocks() -> Iterator[Sequence[VectorRow]]:
        described = iter(()) if metadata is None else read_metadata(metadata, rejects)
        for start in range(0, size, BLOCK):
            block = array[start : start + BLOCK]
            rows = list(islice(described, len(block))) if metadata is not None else [None] * len(block)
            tally.without_metadata += metadata is not None and sum(row is None for row in rows)
            yield [
                _npy_row(path, start + i, vector, row) for i, (vector, row) in enumerate(zip(block, rows, strict=True))
            ]

    return VectorSource(size, dimension, blocks())


def _npy_row(path: Path, number: int, vector: NDArray[Any], row: MetadataRow | None) -> VectorRow:
    item_id = row.id if row is not None and row.id is not None else str(number)
    return VectorRow(f"{path.name}:{number}", item_id, vector, "{}" if row is None else row.json)
