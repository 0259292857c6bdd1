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
    """Code of kernels, some of which are known."""

    def __init__(self, code: str) -> None:
        self._code = code

    def get_function(self, name: str) -> Any:
        """Return a kernel to launch."""
        assert f"void {name}(" in self._code
        return {"rerank": _rerank, "resample": _resample}[name]


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


def _resample(grid: tuple[int], block: tuple[int], given: tuple[Any, ...]) -> None:
    """Resample one direction of a picture, as encoders/resample.cu does."""
    source, along, across, taps, most, length, lines, result, result_along, result_across = given
    assert grid[0] * block[0] >= length * lines > (grid[0] - 1) * block[0]
    assert taps.dtype == np.int32 and taps.is_contiguous and taps.shape == (length, most + 2)
    seen = int((taps.values[:, 0] + taps.values[:, 1]).max())
    read = _steps(source, (seen, lines, 3), along, across).astype(np.int64)
    written = _steps(result, (length, lines, 3), result_along, result_across)
    for place, (first, count, *weights) in enumerate(taps.values.tolist()):
        weighed = np.tensordot(weights[:count], read[first : first + count], axes=1) + (1 << 21)
        assert np.abs(weighed).max() < 1 << 31, "more than an int of the kernel holds"
        written[place] = np.clip(weighed >> 22, 0, 255)


def _steps(pointer: int, shape: tuple[int, int, int], along: int, across: int) -> NDArray[np.uint8]:
    first = at(pointer, (1,), np.uint8)
    return np.lib.stride_tricks.as_strided(first, tuple(map(int, shape)), (int(along), int(across), 1))


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
