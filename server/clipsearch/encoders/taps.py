"""The weights by which Pillow resamples one direction of a picture, for whoever resamples it elsewhere.

A value of the result is a sum over neighbouring values of the source, with weights of 22 bits, rounded to whole levels.
As in ``ImagingResample`` of Pillow's ``Resample.c``; where sums are those, so are the pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS: Final = 22
"""Fraction bits of a weight: what is left of 32 beside the 8 of a level and 2 for sums above it."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Taps:
    """What values of the result are made of; ``begin`` to ``end`` is what any of them looks at in the source."""

    begin: int
    end: int
    rows: NDArray[Any]
    """int32 [n, 2 + m]: of each value its first tap, counted from ``begin``, how many there are, and their weights."""


def taps(size: int, resized: int, start: int, stop: int, resample: Image.Resampling) -> Taps:
    """Return the taps of the values ``start`` to ``stop`` of ``resized`` that ``size`` become.

    Raises KeyError for a filter that is none of ``FILTERS``.
    """
    reach, weigh = FILTERS[resample]
    scale = size / resized
    wide = max(scale, 1.0)
    support = reach * wide
    centres = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum(np.trunc(centres - support + 0.5), 0).astype(np.int64)
    last = np.minimum(np.trunc(centres + support + 0.5), size).astype(np.int64)
    places = np.arange(2 * math.ceil(support) + 1)
    weights = weigh(np.abs((places + first[:, None] - centres[:, None] + 0.5) * (1.0 / wide)))
    weights[places >= (last - first)[:, None]] = 0.0
    # One after the other, as Pillow adds them: numpy's own sums round otherwise.
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    whole = np.trunc(weights * (1 << BITS) + np.where(weights < 0, -0.5, 0.5))
    begin = int(first[0])
    columns = (first[:, None] - begin, (last - first)[:, None], whole)
    rows = np.ascontiguousarray(np.concatenate(columns, axis=1), dtype=np.int32)
    return Taps(begin, int(last[-1]), rows)


def _bicubic(x: _Floats) -> _Floats:
    a = -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _bilinear(x: _Floats) -> _Floats:
    return np.maximum(1.0 - x, 0.0)


def _lanczos(x: _Floats) -> _Floats:
    return np.where(x < 3.0, np.sinc(x) * np.sinc(x / 3), 0.0)


FILTERS: Final[dict[Image.Resampling, tuple[float, Callable[[_Floats], _Floats]]]] = {
    Image.Resampling.BICUBIC: (2.0, _bicubic),
    Image.Resampling.BILINEAR: (1.0, _bilinear),
    Image.Resampling.LANCZOS: (3.0, _lanczos),
}
"""How far each filter reaches, in pixels of the smaller grid, and its weight by distance."""
