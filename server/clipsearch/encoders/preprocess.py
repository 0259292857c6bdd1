"""Encoded pictures to the pixels that the image tower takes.

The order is that of the checkpoint's processor (convert, resize the shortest edge, centre crop), with what a processor
leaves to its caller done first: limits, orientation and transparency. Pixels are the processor's but for what
``clipsearch.encoders.resize`` rounds otherwise. Large JPEGs can be decoded at a fraction of their size, which is faster
but filters differently; see ``ImageLimits.jpeg_oversampling``.

Everything runs in worker threads. The GIL is let go of while a picture is decoded and resized, and an instance holds no
state but its settings.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from clipsearch.encoders.framing import UPRIGHT, Frame, Size, crop_start, frame_of, orientation_of, turned
from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.resize import Resize, resize
from clipsearch.errors import CorruptImage, EmptyImage, ImageTooLarge, TooManyPixels, UnsupportedImage
from clipsearch.ports import Pixels

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The formats that are decoded, by Pillow's names; anything else is refused unread."""

_FILTER_REACH: Final = 3
"""Support of the widest filter (Lanczos), in pixels of the smaller grid."""

_MOST_RESIZED_PIXELS: Final = 32_000_000
"""Pictures that would grow beyond this (one of 640:1 does at 224 pixels) are cropped while they are resized. There
pixels may differ from the reference by a few levels: Pillow chooses the order of directions by the size."""


JpegDecoder = Callable[[bytes, JpegImageFile, Frame], Pixels | None]
"""Makes what a frame wants of a JPEG whose header was read: uint8 [height, width, 3], RGB; None where it does not."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may cost, checked before any pixel is decoded.

    The default of 64 megapixels takes about 256 MiB while a picture is converted, and stays below the size at which
    Pillow itself starts to warn.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 64 * 1000 * 1000
    jpeg_oversampling: int = 0
    """Decode JPEGs at 1/2, 1/4 or 1/8 of their edges, whichever is the least that leaves both edges this many times as
    long as what they are resized to; 0: always whole, as the reference does. docs/decisions/0009-jpegs.md has what it
    saves and changes."""


class PillowPreprocessor:
    """The checkpoint's preprocessing rule over Pillow; see ``ports.ImagePreprocessor``.

    ``resize`` resizes, and ``jpegs`` is asked for every JPEG before Pillow is.
    """

    def __init__(
        self,
        rule: PreprocessRule,
        image_size: int,
        limits: ImageLimits | None = None,
        resize: Resize = resize,
        jpegs: JpegDecoder | None = None,
    ) -> None:
        self._rule = rule
        self._limits = limits or ImageLimits()
        self._resample = Image.Resampling(rule.resample)
        self._resize_to = resize
        self._jpegs = jpegs
        self.image_size = image_size

    def __call__(self, data: bytes) -> Pixels:
        """Return uint8 [size, size, 3], RGB: oriented by EXIF, composited on white, resized, centre-cropped.

        Animations give their first frame. Raises EmptyImage, ImageTooLarge, TooManyPixels, UnsupportedImage or
        CorruptImage.
        """
        image = _opened(data, self._limits)
        pixels = self._by_jpegs(data, image)
        return pixels if pixels is not None else np.asarray(self._framed(_decoded(image, self._least_edge())))

    def _by_jpegs(self, data: bytes, image: Image.Image) -> Pixels | None:
        if self._jpegs is None or not isinstance(image, JpegImageFile):
            return None
        return self._jpegs(data, image, self._frame(image.size, orientation_of(image)))

    def _frame(self, stored: Size, orientation: int = UPRIGHT) -> Frame:
        """Return what becomes of a picture; raises UnsupportedImage where that is none for the tower."""
        frame = frame_of(self._rule, stored, orientation)
        if frame.kept != (self.image_size, self.image_size):
            # Only a rule without resize or crop gets here: the picture must then have the size already.
            width, height = frame.kept
            raise UnsupportedImage(
                f"The picture comes out as {width} x {height} pixels, "
                f"and this model takes {self.image_size} x {self.image_size} only."
            )
        return frame

    def _least_edge(self) -> int | None:
        """The length in pixels above which the edges of a JPEG may be made less; None where none may."""
        if not self._limits.jpeg_oversampling or not self._rule.do_resize:
            return None
        edge = self._rule.shortest_edge or max(self._rule.resize_to or (0,))
        return self._limits.jpeg_oversampling * edge or None

    def _framed(self, picture: Image.Image) -> Image.Image:
        """Resize and crop a picture that is upright."""
        frame = self._frame(picture.size)
        width, height = frame.resized
        cropped = self._rule.shortest_edge is not None and self._rule.do_center_crop
        if width * height > _MOST_RESIZED_PIXELS and cropped:
            picture = self._resize_middle(picture, min(frame.resized), max(frame.resized), max(frame.kept))
        elif frame.resized != picture.size:
            picture = self._resize_to(picture, frame.resized, frame.resample)
        return _center_crop(picture, *frame.kept)

    def _resize_middle(self, picture: Image.Image, edge: int, new_long: int, crop: int) -> Image.Image:
        """Resize only what the crop keeps: a picture of 1 x 50,000,000 pixels would else become 11 billion.

        Pillow's ``box`` samples the same grid, up to rounding, and the middle is kept in the middle. The picture is cut
        to the box and the filter's reach first, since ``box`` is single precision inside.
        """
        upright = picture.width <= picture.height
        long = max(picture.size)
        scale = long / new_long
        kept = min(new_long, crop + (new_long - crop) % 2)
        start = (new_long - kept) // 2 * scale
        reach = math.ceil(_FILTER_REACH * max(scale, 1.0)) + 1
        low, high = max(0, math.floor(start) - reach), min(long, math.ceil(start + kept * scale) + reach)
        near, far = start - low, start - low + kept * scale
        if upright:
            part = picture.crop((0, low, picture.width, high))
            return part.resize((edge, kept), self._resample, box=(0, near, picture.width, far))
        part = picture.crop((low, 0, high, picture.height))
        return part.resize((kept, edge), self._resample, box=(near, 0, far, picture.height))


def check_bytes(data: bytes, limits: ImageLimits) -> None:
    """Raise EmptyImage or ImageTooLarge, without a look at what the bytes are."""
    if not data:
        raise EmptyImage("The image has no bytes.")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            f"The image has {len(data)} bytes, and the limit is {limits.max_bytes}.",
            metadata={"bytes": str(len(data)), "max_bytes": str(limits.max_bytes)},
        )


def decode(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode to an RGB picture of full size, oriented by EXIF, transparency composited on white.

    Byte and pixel limits are checked first, from the header alone. Raises EmptyImage, ImageTooLarge, TooManyPixels,
    UnsupportedImage or CorruptImage.
    """
    return _decoded(_opened(data, limits))


def _opened(data: bytes, limits: ImageLimits) -> Image.Image:
    """Read the header, and refuse what is above the limits."""
    check_bytes(data, limits)
    image = _open(data)
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise TooManyPixels(
            f"The image has {image.width} x {image.height} pixels, and the limit is {limits.max_pixels} in all.",
            metadata={"pixels": str(pixels), "max_pixels": str(limits.max_pixels)},
        )
    return image


def _decoded(image: Image.Image, least_edge: int | None = None) -> Image.Image:
    """Decode; a JPEG both of whose edges stay at least ``least_edge`` long at a fraction of its size, at that."""
    try:
        if least_edge is not None and isinstance(image, JpegImageFile):
            image.draft(image.mode, (least_edge, least_edge))
        image.load()
        return _to_rgb(turned(image, orientation_of(image)))
    except MemoryError:
        raise
    except Exception as exc:
        # On hostile bytes Pillow's decoders raise whatever comes up, and all of it means the same.
        raise CorruptImage(f"The {image.format} image is truncated or broken: {exc}.") from exc


def _open(data: bytes) -> Image.Image:
    """Read the header; no pixel is decoded."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # A warning only where warnings are errors; the limit of decode() catches the rest.
        raise TooManyPixels("The image header announces more pixels than any limit allows.") from exc
    except UnidentifiedImageError as exc:
        raise UnsupportedImage(f"The data is not a picture in one of the formats {', '.join(FORMATS)}.") from exc
    except MemoryError:
        raise
    except Exception as exc:  # see decode()
        raise CorruptImage(f"The image header is broken: {exc}.") from exc


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16"):
        # White is 65535 here; Pillow's own conversion would clip everything over 255 to white.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba)
        return white
    return image.convert("RGB")


def _center_crop(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Crop, padding with black where the picture is smaller.

    Pillow's ``crop`` fills what lies outside with zeros, so the offsets are all there is to it.
    """
    left, top = crop_start(picture.width, width), crop_start(picture.height, height)
    if (left, top, width, height) == (0, 0, picture.width, picture.height):
        return picture
    return picture.crop((left, top, left + width, top + height))
