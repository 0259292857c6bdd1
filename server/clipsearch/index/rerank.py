"""Exact re-ranking on a GPU: float16 vectors resident there, or in page-locked host memory where they don't fit."""

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clipsearch.cuda import import_cupy

MOST_CANDIDATES: Final = 2048
"""Candidates per query: their scores and positions must fit the 48 KiB of shared memory that every GPU has."""

_THREADS: Final = 256
_BLOCK_ROWS: Final = 1 << 16


@cache
def _kernel() -> Any:
    code = Path(__file__).with_name("rerank.cu").read_text(encoding="utf-8")
    return import_cupy().RawModule(code=code).get_function("rerank")


class GpuVectors:
    """The re-rank vectors as the GPU sees them. Used by one thread at a time, on that thread's current stream."""

    def __init__(self, matrix: NDArray[np.float16], room: int) -> None:
        """Copy float16 [N, d] to the GPU if they take up no more than ``room`` bytes, else to page-locked memory."""
        self._cupy = import_cupy()
        self.size, self.dimension = matrix.shape
        self.on_gpu = matrix.nbytes <= room
        if self.on_gpu:
            self._held: Any = self._cupy.empty(matrix.shape, dtype=np.float16)
            for start in range(0, self.size, _BLOCK_ROWS):
                self._held[start : start + _BLOCK_ROWS].set(np.ascontiguousarray(matrix[start : start + _BLOCK_ROWS]))
            self._pointer = int(self._held.data.ptr)
        else:
            self._held = _pinned_copy(self._cupy, matrix)
            self._pointer = int(self._held.ctypes.data)

    @property
    def pointer(self) -> int:
        """Where the first vector lies; the GPU can read it wherever that is."""
        return self._pointer

    def best(self, queries: Any, candidates: Any, k: int, selected: Any | None = None) -> tuple[Any, Any]:
        """Return (scores float32 [n, k], positions int64 [n, k]) of each query's candidates, all on the GPU.

        ``queries`` float32 [n, d] and ``candidates`` int64 [n, c], c at most ``MOST_CANDIDATES``, lie on the GPU, as do
        the bits ``selected`` (see Selection). Needs k <= c. Too few give -inf and -1.
        """
        n, count = candidates.shape
        padded = 1 << (count - 1).bit_length()
        scores = self._cupy.empty((n, k), dtype=np.float32)
        positions = self._cupy.empty((n, k), dtype=np.int64)
        _kernel()(
            (n,),
            (_THREADS,),
            (
                queries, np.uint64(self._pointer), candidates,
                np.uint64(0 if selected is None else selected.data.ptr),
                np.int64(self.size), np.int32(self.dimension), np.int32(count), np.int32(padded), np.int32(k),
                scores, positions,
            ),
            shared_mem=padded * 12 + self.dimension * 4,
        )  # fmt: skip
        return scores, positions


def _pinned_copy(cupy: ModuleType, matrix: NDArray[np.float16]) -> NDArray[np.float16]:
    memory = cupy.cuda.alloc_pinned_memory(matrix.nbytes)
    held = np.frombuffer(memory, np.float16, matrix.size).reshape(matrix.shape)
    for start in range(0, len(matrix), _BLOCK_ROWS):
        held[start : start + _BLOCK_ROWS] = matrix[start : start + _BLOCK_ROWS]
    return held
