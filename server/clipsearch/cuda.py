"""The way to the GPU that encoders and indexes share: CuPy, which lends streams, memory and kernels."""

import importlib
from types import ModuleType

from clipsearch.errors import DeviceUnavailable


def import_cupy() -> ModuleType:
    """Import CuPy; raises DeviceUnavailable where it is missing."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceUnavailable(f"cuda needs CuPy, of the gpu extra, which cannot be had: {error}.") from error
