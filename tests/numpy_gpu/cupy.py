"""The module that stands in CuPy's place."""

import ctypes
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.numpy_gpu import arrays, streams
from tests.numpy_gpu.arrays import GPUS, DeviceArray

SHARED_BYTES = 48 << 10
"""What every GPU gives a block of threads without being asked for more."""

_FREE, _TOTAL = 60 << 30, 80 << 30


def at(pointer: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return what lies at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(pointer)), dtype).reshape(shape)


class RawModule:
    """Code of kernels, of which ``rerank`` is known."""

    def __init__(self, code: str) -> None:
        assert "void rerank(" in code

    def get_function(self, name: str) -> Any:
        """Return a kernel to launch."""
        assert name == "rerank"
        return _rerank


def _rerank(grid: tuple[int], block: tuple[int], given: tuple[Any, ...], shared_mem: int) -> None:
    """Score the candidates of each query and keep the best, as index/rerank.cu does."""
    queries, vectors, candidates, selected, size, dimension, count, padded, k, scores, positions = given
    assert block == (256,) and shared_mem <= SHARED_BYTES
    assert 0 < k <= count <= padded and padded & (padded - 1) == 0
    kinds = ((queries, np.float32), (candidates, np.int64), (scores, np.float32), (positions, np.int64))
    for array, kind in kinds:
        assert isinstance(array, DeviceArray) and array.dtype == kind and array.is_contiguous and len(array) == grid[0]
    matrix = at(vectors, (int(size), int(dimension)), np.float16).astype(np.float32)
    wanted = candidates.values
    counts = (wanted >= 0) & (wanted < size)
    places = np.where(counts, wanted, 0)
    if selected:
        bits = at(selected, (-(-int(size) // 8),), np.uint8)
        counts &= (bits[places >> 3] >> (places & 7).astype(np.uint8) & 1).astype(bool)
    found = np.where(counts, np.einsum("nd,ncd->nc", queries.values, matrix[places]), np.float32(-np.inf))
    held = np.where(counts, wanted, np.iinfo(np.int64).max)
    best = np.lexsort((held, -found), axis=1)[:, : int(k)]
    scores.values[...] = np.take_along_axis(found, best, axis=1)
    kept = np.take_along_axis(held, best, axis=1)
    positions.values[...] = np.where(kept == np.iinfo(np.int64).max, -1, kept)


def module() -> ModuleType:
    """Make it."""
    made: Any = ModuleType("cupy")
    made.empty, made.asarray, made.asnumpy, made.RawModule = arrays.empty, arrays.asarray, arrays.asnumpy, RawModule
    for name in ("where", "maximum", "concatenate", "argsort", "take_along_axis"):
        setattr(made, name, arrays.function(name))
    runtime = SimpleNamespace(
        CUDARuntimeError=type("CUDARuntimeError", (RuntimeError,), {}),
        getDevice=arrays.current,
        getDeviceCount=lambda: GPUS,
        memGetInfo=lambda: (_FREE, _TOTAL),
        memcpyAsync=streams.copy,
        memcpyDeviceToDevice=3,
        memcpyDeviceToHost=2,
        memcpyHostToDevice=1,
        streamCaptureModeThreadLocal=1,
    )
    made.cuda = SimpleNamespace(
        Device=arrays.Device,
        Event=streams.Event,
        Stream=streams.Stream,
        alloc_pinned_memory=bytearray,
        memory=SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {})),
        runtime=runtime,
    )
    return made  # type: ignore[no-any-return]
