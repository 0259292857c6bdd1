"""The pictures that the page shows and keeps: where they lie, under which addresses they are, and how large.

Items name their pictures by a web address, which the browser loads by itself, or by a path below the directory of
pictures. Nothing outside that directory, and nothing in it that is no picture, is ever given out. Pictures added from
the page are kept in a directory of the page's, named after their content, and are no items' names for anything else.
"""

import base64
import hashlib
import io
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageOps, UnidentifiedImageError

from clipsearch_demo.ui.roles import picture_fields

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tiff"}
"""What the server decodes, and what a file of it is called."""

SUFFIXES = frozenset({*FORMATS.values(), ".jpeg", ".tif"})
MAX_PIXELS = 50_000_000
CARD_PX, LARGE_PX = 480, 1024
"""Longest side of a picture on a card, and in an item's details."""

ROUTE = "/pictures"
UPLOAD_SCHEME = "upload:"
"""What the uri of an item begins with whose picture was added from the page."""


class NotAPicture(Exception):
    """What a visitor gave is no picture that can be searched by; the text says what it is instead."""


class Pictures:
    """The two directories: ``root``, what items' paths are relative to (None: there is none), and ``uploads``."""

    def __init__(self, root: Path | None, uploads: Path) -> None:
        self._directories = {"uploads": uploads} | ({"items": root} if root is not None else {})
        self._uploads = uploads

    def address(self, uri: str, metadata: Mapping[str, Any], side: int = CARD_PX) -> str:
        """Return where the browser finds an item's picture, at most ``side`` pixels long; empty where there is none."""
        for name in (uri, *picture_fields(metadata)):
            if name.startswith(("https://", "http://")):
                return name
            kind, path = ("uploads", name[len(UPLOAD_SCHEME) :]) if name.startswith(UPLOAD_SCHEME) else ("items", name)
            if self.file(kind, path) is not None:
                return f"{ROUTE}/{kind}/{side}/{quote(path)}"
        return ""

    def file(self, kind: str, path: str) -> Path | None:
        """Return the picture file that ``path`` is in the directory ``kind``; None for all that is none, or outside."""
        directory = self._directories.get(kind)
        if directory is None or not path or "\0" in path:
            return None
        try:
            root, file = directory.resolve(), (directory / path).resolve()
            inside = file.is_relative_to(root) and file.suffix.lower() in SUFFIXES and file.is_file()
        except (OSError, RuntimeError):  # a name too long for a file, a loop of links: none of them a picture
            return None
        return file if inside else None

    def keep(self, content: bytes) -> str:
        """Keep a picture and return the uri that items name it by; raises NotAPicture."""
        name = hashlib.sha256(content).hexdigest()[:32] + FORMATS[picture_format(content)]
        self._uploads.mkdir(parents=True, exist_ok=True)
        if not (self._uploads / name).exists():
            partial = self._uploads / f".{name}.partial"
            partial.write_bytes(content)
            partial.replace(self._uploads / name)
        return UPLOAD_SCHEME + name


def picture_format(content: bytes) -> str:
    """Return the format of an encoded picture, one of ``FORMATS``; raises NotAPicture."""
    with _opened(io.BytesIO(content)) as picture:
        return str(picture.format)


def thumbnail(content: bytes, side: int) -> bytes:
    """Return a picture as a JPEG of at most ``side`` pixels on each side; raises NotAPicture."""
    with _opened(io.BytesIO(content)) as picture:
        return _small(picture, side)


def data_address(content: bytes, side: int) -> str:
    """Return an address that holds a small version of the picture itself; raises NotAPicture."""
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail(content, side)).decode()


@lru_cache(maxsize=2048)
def file_thumbnail(file: Path, modified_ns: int, side: int) -> bytes:
    """Return ``thumbnail`` of a file, of which there are at most 2048 in memory; a changed file is another one."""
    with file.open("rb") as content, _opened(content) as picture:
        return _small(picture, side)


def _opened(content: Any) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow's own warning for large pictures; our limit is a refusal.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            picture = Image.open(content, formats=list(FORMATS))
        except UnidentifiedImageError:
            raise NotAPicture("it is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise NotAPicture(f"it cannot be read as a picture: {error}") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise NotAPicture(f"it has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}")
    return picture


def _small(picture: Image.Image, side: int) -> bytes:
    out = io.BytesIO()
    try:
        picture.draft("RGB", (side, side))
        upright = ImageOps.exif_transpose(picture)
        upright.thumbnail((side, side), Image.Resampling.LANCZOS)
        if upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info:
            # What is transparent lies on the card's white.
            alpha = upright.convert("RGBA")
            upright = Image.new("RGB", alpha.size, "white")
            upright.paste(alpha, mask=alpha.getchannel("A"))
        upright.convert("RGB").save(out, "JPEG", quality=85)
    except (OSError, SyntaxError, ValueError) as error:
        raise NotAPicture(f"it cannot be decoded: {error}") from error
    return out.getvalue()
