"""Exact re-ranking on a GPU: float16 vectors resident there, or in page-locked host memory where they don't fit."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clipsearch.cuda import import_cupy, pinned
from clipsearch.ports import Rows

MOST_CANDIDATES: Final = 2048
"""Candidates per query: their scores and positions must fit the 48 KiB of shared memory that every GPU has."""

_THREADS: Final = 256
_BLOCK_ROWS: Final = 1 << 16


@cache
def _kernel(number: int) -> Any:
    """Return the kernel, loaded on the GPU of this number, which must be the current one."""
    del number
    code = Path(__file__).with_name("rerank.cu").read_text(encoding="utf-8")
    return import_cupy().RawModule(code=code).get_function("rerank")


@dataclass(frozen=True, slots=True, eq=False)
class GpuVectors:
    """float16 vectors [size, dimension] at a ``pointer`` that a GPU can read, and the array that keeps them there.

    Used by one thread at a time, on its current device and stream.
    """

    held: Any
    pointer: int
    size: int
    dimension: int
    on_gpu: bool

    @classmethod
    def of(cls, held: Any, size: int) -> "GpuVectors":
        """Return the first ``size`` rows of an array float16 [n, d] on the GPU."""
        return cls(held, int(held.data.ptr), size, held.shape[1], on_gpu=True)

    def taken(self, positions: Rows) -> "GpuVectors":
        """Return a copy of the vectors at int64 ``positions``, on the GPU."""
        cupy = import_cupy()
        if self.on_gpu:
            return self.of(self.held[cupy.asarray(positions)], len(positions))
        return self.of(cupy.asarray(self.held[positions]), len(positions))

    def best(self, queries: Any, candidates: Any, k: int, selected: Any | None = None) -> tuple[Any, Any]:
        """Return (scores float32 [n, k], positions int64 [n, k]) of each query's candidates, all on the GPU.

        ``queries`` float32 [n, d] and ``candidates`` int64 [n, c], c at most ``MOST_CANDIDATES``, lie on the GPU, as do
        the bits ``selected`` (see Selection). Needs k <= c. Too few give -inf and -1.
        """
        cupy = import_cupy()
        n, count = candidates.shape
        padded = 1 << (count - 1).bit_length()
        scores = cupy.empty((n, k), dtype=np.float32)
        positions = cupy.empty((n, k), dtype=np.int64)
        _kernel(cupy.cuda.runtime.getDevice())(
            (n,),
            (_THREADS,),
            (
                queries, np.uint64(self.pointer), candidates,
                np.uint64(0 if selected is None else selected.data.ptr),
                np.int64(self.size), np.int32(self.dimension), np.int32(count), np.int32(padded), np.int32(k),
                scores, positions,
            ),
            shared_mem=padded * 12 + self.dimension * 4,
        )  # fmt: skip
        return scores, positions


def place(matrix: NDArray[np.float16], room: int) -> GpuVectors:
    """Copy float16 [N, d] to the current GPU if they take up no more than ``room`` bytes, else to page-locked memory.

    On the current stream.
    """
    cupy = import_cupy()
    if matrix.nbytes <= room:
        held = cupy.empty(matrix.shape, dtype=np.float16)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            held[start : start + _BLOCK_ROWS].set(np.ascontiguousarray(matrix[start : start + _BLOCK_ROWS]))
        return GpuVectors.of(held, len(matrix))
    held = _pinned_copy(cupy, matrix)
    size, dimension = matrix.shape
    return GpuVectors(held, int(held.ctypes.data), size, dimension, on_gpu=False)


def _pinned_copy(cupy: ModuleType, matrix: NDArray[np.float16]) -> NDArray[np.float16]:
    held = pinned(cupy, matrix.size, np.float16).reshape(matrix.shape)
    for start in range(0, len(matrix), _BLOCK_ROWS):
        held[start : start + _BLOCK_ROWS] = matrix[start : start + _BLOCK_ROWS]
    return held
