"""The way to the GPU that encoders and indexes share: CuPy, which lends streams, memory and kernels."""

import functools
import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clipsearch.errors import DeviceUnavailable
from clipsearch.ports import Vectors

_GIB = 2**30

logger = logging.getLogger(__name__)


def import_cupy() -> ModuleType:
    """Import CuPy; raises DeviceUnavailable where it is missing."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceUnavailable(f"cuda needs CuPy, of the gpu extra, which cannot be had: {error}.") from error


@functools.cache
def why_no_gpu() -> str | None:
    """Return why CUDA has no GPU to compute on here; None where it has one. What is found is logged and remembered."""
    reason = _asked_for_a_gpu()
    if reason is not None:
        logger.info("CUDA has no GPU to compute on: %s", reason)
    return reason


def _asked_for_a_gpu() -> str | None:
    try:
        runtime = import_cupy().cuda.runtime
    except DeviceUnavailable as error:
        return error.message.rstrip(".")
    try:
        return None if runtime.getDeviceCount() else "there is none"
    except runtime.CUDARuntimeError as error:  # no driver, or one that is too old
        return str(error)


class HandedVectors(np.ndarray[Any, np.dtype[np.float32]]):
    """Vectors on the host, float32 [n, dimension], that know where the same lie on a GPU.

    So a tower hands them to an index there by pointer, and to everybody else as the plain array that they are. What is
    made of them, even a part or a copy, is an array on the host and nothing more.
    """

    on_gpu: Any = None
    """The copy, a CuPy array float32 [n, dimension] that is complete; None where there is none."""

    @classmethod
    def of(cls, vectors: Vectors, on_gpu: Any) -> "HandedVectors":
        """Join the two, without a copy; neither may be written to from now on."""
        handed = vectors.view(cls)
        handed.on_gpu = on_gpu
        return handed


def uploaded(cupy: ModuleType, vectors: Vectors) -> Any:
    """Return vectors float32 [n, dimension] on the current GPU: those that were handed over, or a copy made now."""
    handed = vectors.on_gpu if isinstance(vectors, HandedVectors) else None
    if handed is not None and handed.device.id == cupy.cuda.runtime.getDevice():
        return handed
    return cupy.asarray(np.asarray(vectors))


def pinned(cupy: ModuleType, count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return a flat array in page-locked memory, which a GPU reads and writes by itself."""
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer(cupy.cuda.alloc_pinned_memory(size), dtype, count) if size else np.empty(0, dtype)


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of one GPU, in bytes."""

    free: int
    total: int

    @classmethod
    def now(cls, cupy: ModuleType, number: int = 0) -> "Room":
        """Ask the GPU of this number, which counts what other processes hold as well."""
        with cupy.cuda.Device(number):
            return cls(*cupy.cuda.runtime.memGetInfo())

    def less(self, what: str, parts: Mapping[str, int]) -> int:
        """Return the bytes that stay free beside ``parts`` of ``what``.

        Raises DeviceUnavailable with the sums where they do not fit: before anything is placed, since a GPU that is
        full fails calls later, and of whoever uses it then.
        """
        needed = sum(parts.values())
        if needed > self.free:
            sums = ", ".join(f"{_gib(size)} of {name}" for name, size in parts.items())
            raise DeviceUnavailable(
                f"{what} needs {_gib(needed)} GiB on the GPU ({sums}), and {_gib(self.free)} of its {_gib(self.total)} "
                "GiB are free; use a larger GPU, stop what else runs on it, or serve on the CPU."
            )
        return self.free - needed


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f}"
