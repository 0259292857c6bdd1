"""What is sent: seeded queries, photographs, and captions of the sample catalogue."""

import io
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_OPENINGS = ("a photo of", "picture of", "show me", "close up of", "vintage", "new", "the best", "cheap")
_ADJECTIVES = ("red", "small", "wooden", "bright", "striped", "soft", "old", "shiny", "warm", "dark blue", "handmade")
_NOUNS = ("shoes", "jacket", "lamp", "dog", "bicycle", "kitchen table", "mountain", "coffee cup", "guitar", "window")
_PLACES = ("on a beach", "in the snow", "at night", "near a river", "with flowers", "for the garden", "under a tree")

PHOTOGRAPHS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png", "ihc.png",
               "hubble_deep_field.jpg", "brick.png")  # fmt: skip
"""Pictures inside scikit-image's wheel: faces, things, animals, fine texture."""


def queries(count: int, seed: int, fewest: int = 4, most: int = 12) -> list[str]:
    """Return English-like queries whose word counts spread evenly from ``fewest`` to ``most``, in random order."""
    random = Random(seed)
    lengths = [round(length) for length in np.linspace(fewest, most, count)]
    random.shuffle(lengths)
    return [_query(length, random) for length in lengths]


def _query(words: int, random: Random) -> str:
    text: list[str] = random.choice(_OPENINGS).split()
    while len(text) < words:
        for group in (_ADJECTIVES, _NOUNS, _PLACES):
            text += random.choice(group).split()
    return " ".join(text[:words])


def photographs(side: int = 512, quality: int = 90) -> list[bytes]:
    """Return JPEGs of ``side`` x ``side`` pixels, cut from scikit-image's photographs."""
    import skimage.data

    directory = Path(skimage.data.__file__).parent
    return [_jpeg(directory / name, side, quality) for name in PHOTOGRAPHS]


def _jpeg(path: Path, side: int, quality: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.BICUBIC).save(
            buffer, "JPEG", quality=quality
        )
    return buffer.getvalue()


def made_pictures(count: int, seed: int, side: int = 512) -> list[bytes]:
    """Return JPEGs of ``side`` x ``side`` pixels of smooth noise, where there are no photographs to take."""
    return [_made_picture(seed + i, side) for i in range(count)]


def _made_picture(seed: int, side: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def captions(count: int, seed: int, *, full: bool = True) -> list[str]:
    """Return captions of products as the sample model was trained on; ``full`` ones name every attribute."""
    from clipsearch_demo.captions import full_caption, partial_caption
    from clipsearch_demo.catalogue.specs import generate_specs

    random = Random(seed)
    make = full_caption if full else partial_caption
    return [make(spec, random).text for spec in generate_specs(count, seed)]


def unit_vectors(count: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Return random directions, float32 [count, dimension] of unit length."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def one_length_each(rows: Sequence[NDArray[np.generic]], size: int) -> list[NDArray[np.generic]]:
    """Stack ``size`` rows of each length that there is, the shortest first, so that nothing is padded."""
    return [repeated([row for row in rows if len(row) == length], size) for length in lengths(rows)]


def lengths(rows: Sequence[NDArray[np.generic]]) -> list[int]:
    """Return the different lengths of rows, the shortest first."""
    return sorted({len(row) for row in rows})


def repeated(rows: Sequence[NDArray[np.generic]], size: int) -> NDArray[np.generic]:
    """Stack ``size`` rows, taking ``rows`` in turn."""
    return np.stack([rows[i % len(rows)] for i in range(size)])
