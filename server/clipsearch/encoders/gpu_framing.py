"""Pictures that lie on a GPU, turned, resized and cropped there; only what is kept of them comes down.

To the last level as by Pillow: weights and the order of directions are its own (``taps``, ``resize``).
"""

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from clipsearch.cuda import import_cupy, pinned
from clipsearch.encoders.framing import Frame
from clipsearch.encoders.resize import upright_first
from clipsearch.encoders.taps import taps
from clipsearch.ports import Pixels

_THREADS: Final = 256
_COLOURS: Final = 3
_KEPT_TAPS: Final = 64
"""Sizes of pictures whose weights stay on the GPU, of each thread and direction."""


@cache
def _kernel() -> Any:
    code = Path(__file__).with_name("resample.cu").read_text(encoding="utf-8")
    return import_cupy().RawModule(code=code).get_function("resample")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on the GPU, RGB of 8 bits: where its first pixel lies, and how many bytes on the next ones do."""

    pointer: int
    height: int
    width: int
    down: int
    right: int
    held: Any = None
    """What keeps it there."""

    @classmethod
    def of(cls, array: Any) -> "Picture":
        """Return what uint8 [height, width, 3] is that has a CUDA array interface; colours lie side by side."""
        interface = array.__cuda_array_interface__
        height, width, colours = interface["shape"]
        down, right, next_colour = interface.get("strides") or (width * colours, colours, 1)
        assert (interface["typestr"], colours, next_colour) == ("|u1", _COLOURS, 1), "asked for as interleaved RGB"
        return cls(interface["data"][0], height, width, down, right, array)

    def upright(self, orientation: int) -> "Picture":
        """Return the same pixels, seen as EXIF's ``orientation`` says."""
        picture = self
        if orientation in _UPSIDE_DOWN:
            pointer = picture.pointer + (picture.height - 1) * picture.down
            picture = replace(picture, pointer=pointer, down=-picture.down)
        if orientation in _MIRRORED:
            pointer = picture.pointer + (picture.width - 1) * picture.right
            picture = replace(picture, pointer=pointer, right=-picture.right)
        if orientation >= 5:
            return Picture(picture.pointer, picture.width, picture.height, picture.right, picture.down, self.held)
        return picture


_UPSIDE_DOWN: Final = (3, 4, 6, 7)
_MIRRORED: Final = (2, 3, 7, 8)
"""Orientations whose rows, and whose columns, are stored the other way round, before those from 5 on are transposed."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """Taps on the GPU: int32 [n, 2 + m], and what they look at."""

    begin: int
    end: int
    rows: Any

    @property
    def length(self) -> int:
        return len(self.rows)


class GpuFramer:
    """Makes frames on the first GPU; used by one thread, on its stream."""

    def __init__(self, stream: Any) -> None:
        """Everything is done in the order of ``stream``, behind what is there."""
        self._cupy = import_cupy()
        self._stream = stream
        self._placed = lru_cache(_KEPT_TAPS)(self._place)
        self._down = pinned(self._cupy, 0, np.uint8)

    def __call__(self, array: Any, frame: Frame) -> Pixels:
        """Return uint8 [height, width, 3] of what lies on the GPU as uint8 [h, w, 3], for one of ``taps.FILTERS``.

        Raises CuPy's OutOfMemoryError where there is no room for what is between.
        """
        picture = Picture.of(array).upright(frame.orientation)
        (width, height), (kept_width, kept_height) = frame.resized, frame.kept
        left, top = max(frame.left, 0), max(frame.top, 0)
        right, bottom = min(frame.left + kept_width, width), min(frame.top + kept_height, height)
        with self._stream:
            columns = self._placed(picture.width, width, left, right, frame.resample)
            rows = self._placed(picture.height, height, top, bottom, frame.resample)
            pointer = picture.pointer + rows.begin * picture.down + columns.begin * picture.right
            cut = replace(picture, pointer=pointer, height=rows.end - rows.begin, width=columns.end - columns.begin)
            if upright_first((picture.width, picture.height), frame.resized):
                between = self._downwards(cut, rows)
                result = self._sideways(between, columns)
            else:
                between = self._sideways(cut, columns)
                result = self._downwards(between, rows)
            seen = self._brought_down(result)
        pixels = np.zeros((kept_height, kept_width, _COLOURS), dtype=np.uint8)
        pixels[top - frame.top : bottom - frame.top, left - frame.left : right - frame.left] = seen
        return pixels

    def _place(self, size: int, resized: int, start: int, stop: int, resample: Image.Resampling) -> _Placed:
        made = taps(size, resized, start, stop, resample)
        return _Placed(made.begin, made.end, self._cupy.asarray(made.rows))

    def _sideways(self, picture: Picture, columns: _Placed) -> Picture:
        made = self._empty(picture.height, columns.length)
        source = picture.pointer, picture.right, picture.down
        self._launch(columns, picture.height, source, (made.pointer, made.right, made.down))
        return made

    def _downwards(self, picture: Picture, rows: _Placed) -> Picture:
        made = self._empty(rows.length, picture.width)
        source = picture.pointer, picture.down, picture.right
        self._launch(rows, picture.width, source, (made.pointer, made.down, made.right))
        return made

    def _empty(self, height: int, width: int) -> Picture:
        held = self._cupy.empty((height, width, _COLOURS), dtype=np.uint8)
        return Picture(int(held.data.ptr), height, width, width * _COLOURS, _COLOURS, held)

    def _launch(self, placed: _Placed, lines: int, source: tuple[int, int, int], result: tuple[int, int, int]) -> None:
        """Resample ``lines``; ``source`` and ``result`` are pointers and steps along and across the direction."""
        most = placed.rows.shape[1] - 2
        blocks = -(-placed.length * lines // _THREADS)
        arguments = (
            np.uint64(source[0]), np.int64(source[1]), np.int64(source[2]), placed.rows, np.int32(most),
            np.int32(placed.length), np.int32(lines),
            np.uint64(result[0]), np.int64(result[1]), np.int64(result[2]),
        )  # fmt: skip
        _kernel()((blocks,), (_THREADS,), arguments)

    def _brought_down(self, picture: Picture) -> Pixels:
        """Wait for a picture; what is returned is overwritten by the next one."""
        size = picture.height * picture.width * _COLOURS
        if size > len(self._down):
            self._down = pinned(self._cupy, size, np.uint8)
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(self._down.ctypes.data, picture.pointer, size, runtime.memcpyDeviceToHost, self._stream.ptr)
        self._stream.synchronize()
        return self._down[:size].reshape(picture.height, picture.width, _COLOURS)
