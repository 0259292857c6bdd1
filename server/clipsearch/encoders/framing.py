"""What becomes of a picture's edges: turned upright, resized, and the middle kept. Reckoned from its size alone."""

import struct
from dataclasses import dataclass
from typing import Final

from PIL import Image

from clipsearch.encoders.manifest import PreprocessRule

Size = tuple[int, int]
"""Width and height, in pixels."""

UPRIGHT: Final = 1
"""EXIF's orientation of pictures that are stored as they are to be seen."""

_ORIENTATION_TAG: Final = 0x0112
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation to what undoes it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a stored picture becomes the pixels of a tower."""

    orientation: int
    """EXIF's, 1 to 8 (Exif 2.32, section 4.6.4)."""
    resized: Size
    """What the upright picture is resized to."""
    left: int
    """Where in that the kept part begins; what lies outside is black."""
    top: int
    kept: Size
    resample: Image.Resampling


def frame_of(rule: PreprocessRule, stored: Size, orientation: int = UPRIGHT) -> Frame:
    """Return what a rule makes of a picture that is ``stored`` in this size and orientation."""
    upright = stored[::-1] if orientation >= 5 else stored
    resized = _resized(rule, upright)
    height, width = rule.crop_size if rule.do_center_crop and rule.crop_size is not None else resized[::-1]
    left, top = crop_start(resized[0], width), crop_start(resized[1], height)
    return Frame(orientation, resized, left, top, (width, height), Image.Resampling(rule.resample))


def crop_start(size: int, crop: int) -> int:
    """Return where the middle begins, as transformers.image_transforms.center_crop has it; negative to be padded."""
    return (size - crop) // 2


def orientation_of(header: Image.Image) -> int:
    """Return EXIF's orientation, 1 where there is none that is known."""
    try:
        orientation = header.getexif().get(_ORIENTATION_TAG, UPRIGHT)
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):
        # Broken metadata does not break the picture; every viewer shows it unrotated, and so do we.
        return UPRIGHT
    return orientation if orientation in range(1, 9) else UPRIGHT


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Return a picture upright that is stored in EXIF's ``orientation``."""
    transpose = _TRANSPOSE.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _resized(rule: PreprocessRule, upright: Size) -> Size:
    if not rule.do_resize:
        return upright
    width, height = upright
    if rule.shortest_edge is None:
        new_height, new_width = rule.resize_to or (height, width)
        return new_width, new_height
    # Rounded as transformers.image_transforms.get_resize_output_image_size does.
    edge, short, long = rule.shortest_edge, min(upright), max(upright)
    new_long = int(edge * long / short)
    return (edge, new_long) if width <= height else (new_long, edge)
