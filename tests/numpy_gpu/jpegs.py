"""nvImageCodec's decoders for GPUs, over its own for the CPU."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from clipsearch.encoders import nvjpeg

_open = nvjpeg.open_decoder


class Decoded:
    """A picture on the first GPU, whose rows are apart: nobody promised that they are not."""

    _APART = 32

    def __init__(self, pixels: Any) -> None:
        height, width, colours = self.shape = pixels.shape
        self._rows = np.full((height, width * colours + self._APART), 0x7F, dtype=np.uint8)
        self._rows[:, : -self._APART] = pixels.reshape(height, -1)

    def cuda(self, synchronize: bool, cuda_stream: int) -> "Decoded":
        """See nvImageCodec: it lies there already."""
        assert not synchronize and cuda_stream
        return self

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """See Numba's documentation of it."""
        place = self._rows.ctypes.data, False
        return {"shape": self.shape, "strides": (self._rows.strides[0], 3, 1), "typestr": "|u1", "data": place}


def _opened(codec: ModuleType, kinds: Sequence[Any], threads: int = 0) -> Callable[..., Any]:
    if list(kinds) == [codec.CPU_ONLY]:
        return _open(codec, kinds, threads)
    decode = _open(codec, [codec.CPU_ONLY], threads)

    def on_gpu(data: bytes, *, image: Decoded | None, cuda_stream: int) -> Decoded | None:
        assert cuda_stream, "the default stream"
        del image
        decoded = decode(data)
        return None if decoded is None else Decoded(np.asarray(decoded.cpu()))

    return on_gpu


def install() -> None:
    """Have JPEGs decoded here."""
    nvjpeg.open_decoder = _opened
