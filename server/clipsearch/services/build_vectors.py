"""Ready vectors as a source: what every kind yields, how vectors are checked, and the ``.npy`` kind."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import BadVector, InvalidInput, WrongModel
from clipsearch.parquet_columns import BLOCK
from clipsearch.picture_metadata import MetadataRow
from clipsearch.ports import Vectors
from clipsearch.services.build_metadata import read_metadata
from clipsearch.services.build_report import Rejects, Tally
from clipsearch.tables import count_rows

MIN_NORM = 1e-6
"""Below this a vector has no direction."""

UNIT_TOLERANCE = 1e-3
"""Vectors this close to unit length count as unit: float16 storage moves them as much."""

ROUNDED_TOLERANCE = 5e-4
"""How far from unit length rounding to float16, half a unit in eleven bits of each coordinate, can bring a vector."""


@dataclass(frozen=True, slots=True)
class VectorRow:
    """One item: where it stands, its id, its vector as given (None where it is missing) and its metadata as JSON.

    ``content_hash`` and ``uri`` are as in an Item.
    """

    where: str
    id: str
    vector: NDArray[Any] | None
    metadata: str
    content_hash: bytes | None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class VectorSource:
    """``size`` rows of ``dimension`` coordinates, in blocks; ``weight_hash`` tells the model, where the source does."""

    size: int
    dimension: int
    weight_hash: str | None
    blocks: Iterator[Sequence[VectorRow]]


def unit_rows(vectors: NDArray[Any], tally: Tally) -> tuple[Vectors, list[BadVector | None]]:
    """Scale [n, d] rows to unit length, float32; returns them with an error for each row that has no direction.

    A row that is of unit length but for what float16 rounds away, and that float16 holds exactly, is returned as it is:
    scaling would round it once more, and what was exported would come back as something else.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.square(wide).sum(axis=1))
        exact = (wide.astype(np.float16) == wide).all(axis=1)
    errors: list[BadVector | None] = [None] * len(wide)
    for i in np.flatnonzero(~np.isfinite(norms)):
        errors[i] = BadVector("the vector holds NaN or infinity")
    for i in np.flatnonzero(norms < MIN_NORM):
        errors[i] = BadVector("the vector has no length, so no direction")
    usable = np.array([error is None for error in errors], dtype=bool)
    distance = np.abs(norms - 1)
    tally.normalised += int((distance[usable] > UNIT_TOLERANCE).sum())
    norms[~usable | (exact & (distance <= ROUNDED_TOLERANCE))] = 1
    return (wide / norms[:, None]).astype(np.float32), errors


def check_model(path: Path, source: VectorSource, weight_hash: str) -> None:
    """Raise WrongModel where a source says that its vectors are of other weights than these."""
    if source.weight_hash not in {None, weight_hash}:
        raise WrongModel(
            f"the vectors of {path} were made by another model (weights {_short(source.weight_hash)}, this one has "
            f"{_short(weight_hash)}); they do not compare",
            field="source",
        )


def _short(weight_hash: str | None) -> str:
    return (weight_hash or "unknown")[:12]


def vector_hash(vector: NDArray[Any]) -> bytes:
    """Return what identifies a ready vector: the SHA-256 of it as float32."""
    return hashlib.sha256(np.asarray(vector, dtype=np.float32).tobytes()).digest()


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

    return VectorSource(size, dimension, None, blocks())


def _npy_row(path: Path, number: int, vector: NDArray[Any], row: MetadataRow | None) -> VectorRow:
    item_id = row.id if row is not None and row.id is not None else str(number)
    metadata = "{}" if row is None else row.json
    return VectorRow(f"{path.name}:{number}", item_id, vector, metadata, vector_hash(vector))
