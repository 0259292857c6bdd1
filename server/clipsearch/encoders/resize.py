"""Resizing of RGB pictures: by Pillow, and as Pillow does it with the processor's vector instructions.

Pillow resamples one direction after the other and rounds to whole levels in between. So does ``resize`` here, each
direction by fast_image_resize (package ``cykooz_resizer``), several times as fast. Its weights have 16 bits where
Pillow's have 22, so that a few in a thousand of a picture's values are off by a level of 255, hardly one by two; what
this changes in an embedding is measured in docs/decisions/0009-jpegs.md.

Where there is no such package, for other filters, and beside a Pillow that is not known, Pillow does it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import PIL
from PIL import Image

from clipsearch.encoders.framing import Size

try:
    import cykooz_resizer as vectorised
except ImportError:  # it has wheels for Linux on x86-64 alone
    vectorised = None

Resize = Callable[[Image.Image, Size, Image.Resampling], Image.Image]
"""Makes an RGB picture one of another size."""

KNOWN_PILLOWS: Final = range(11, 14)
"""Major versions whose pictures ``cykooz_resizer`` can read where they lie: it knows how they are laid out in memory,
which Pillow does not promise to keep. Another may be added once the tests of this module pass beside it."""


def resize_by_pillow(picture: Image.Image, size: Size, resample: Image.Resampling) -> Image.Image:
    """Return the picture resized by Pillow, bit for bit as the checkpoint's processor does."""
    return picture.resize(size, resample)


def resize(picture: Image.Image, size: Size, resample: Image.Resampling) -> Image.Image:
    """Return an RGB picture resized as by Pillow, but for a level here and there; the GIL is let go of meanwhile."""
    options = _OPTIONS.get(resample)
    if options is None:
        return resize_by_pillow(picture, size, resample)
    resizer = vectorised.Resizer()
    for step in _steps(picture.size, size):
        resized = Image.new("RGB", step, None)  # None: what is in it does not matter
        resizer.resize_pil(picture, resized, options)
        picture = resized
    return picture


def upright_first(size: Size, wanted: Size) -> bool:
    """Whether the height is resized before the width: where it shrinks by more than twice as much, as in Pillow 13."""
    (width, height), (new_width, new_height) = size, wanted
    return height - new_height > max(0, 2 * (width - new_width))


def _steps(size: Size, wanted: Size) -> Iterator[Size]:
    """Yield the sizes on the way, a direction each, in Pillow's order: what is clipped between depends on it."""
    (width, height), (new_width, new_height) = size, wanted
    between = (width, new_height) if upright_first(size, wanted) else (new_width, height)
    if between != size:
        yield between
    if wanted != between:
        yield wanted


def _options(pillow: str) -> Mapping[Image.Resampling, Any]:
    """Return what is told to the vectorised resizer, by Pillow's filter; nothing where it must not be used."""
    if vectorised is None or int(pillow.partition(".")[0]) not in KNOWN_PILLOWS:
        return {}
    kinds = vectorised.FilterType
    filters = {
        Image.Resampling.BICUBIC: kinds.catmull_rom,
        Image.Resampling.BILINEAR: kinds.bilinear,
        Image.Resampling.LANCZOS: kinds.lanczos3,
    }
    convolution = vectorised.ResizeAlg.convolution
    return {by_pillow: vectorised.ResizeOptions(convolution(kind)) for by_pillow, kind in filters.items()}


_OPTIONS: Final = _options(PIL.__version__)
