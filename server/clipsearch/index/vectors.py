"""The re-rank vectors on disk: float16 [N, d] in the file format of a FAISS scalar-quantiser index.

That format is a short header followed by the plain row-major matrix, so one memory-mapped file serves FAISS (re-ranking
in C++, 5 to 10 times cheaper than gathering and multiplying in numpy) and numpy (training, ground truth, single
vectors). Nothing of it is read into memory before it is needed.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import UnusableIndex

Float16 = NDArray[np.float16]

_NTOTAL_AT = 8  # after the four-letter code and the int32 dimension


@dataclass(frozen=True, slots=True)
class VectorFile:
    """An opened file: ``matrix`` float16 [N, d], memory-mapped, and ``faiss_index`` over the same pages."""

    matrix: Float16
    faiss_index: Any


class VectorFileWriter:
    """Writes the file front to back, a block at a time, so that no more than a block is ever in memory."""

    def __init__(self, path: Path, n: int, d: int) -> None:
        """Start a file of exactly ``n`` vectors of ``d`` coordinates."""
        self._left, self._d = n, d
        self._file = path.open("wb")
        self._file.write(_header(n, d))

    def append(self, block: Float16) -> None:
        """Add float16 [m, d] rows."""
        if block.shape[1:] != (self._d,) or len(block) > self._left:
            raise ValueError(f"{block.shape} does not fit: {self._left} rows of {self._d} are left")
        self._file.write(np.ascontiguousarray(block, dtype=np.float16).data)
        self._left -= len(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._left:
            raise ValueError(f"{self._left} announced vectors were never written")


def _empty(d: int) -> Any:
    return faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


def _header(n: int, d: int) -> bytes:
    """Return what FAISS writes before the codes, taken from an empty index with its two counts filled in.

    FAISS offers no way to write codes that are not in memory; the layout is checked on reading, every time.
    """
    header = bytearray(faiss.serialize_index(_empty(d)).tobytes())
    struct.pack_into("<q", header, _NTOTAL_AT, n)
    struct.pack_into("<q", header, len(header) - 8, n * d * 2)
    return bytes(header)


def open_vectors(path: Path, n: int, d: int) -> VectorFile:
    """Memory-map a file that must hold ``n`` vectors of ``d`` coordinates; raises UnusableIndex where it does not."""
    header = _header(n, d)
    size = path.stat().st_size if path.is_file() else -1
    if size != len(header) + n * d * 2:
        raise UnusableIndex(f"{path} does not have the size of {n} vectors of {d} coordinates; build the index again")
    with path.open("rb") as file:
        if file.read(len(header)) != header:
            raise UnusableIndex(f"{path} is not a vector file that this version can read; build the index again")
    if n == 0:
        return VectorFile(np.empty((0, d), dtype=np.float16), _empty(d))
    matrix = np.memmap(path, dtype=np.float16, mode="r", offset=len(header), shape=(n, d))
    return VectorFile(matrix, faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
