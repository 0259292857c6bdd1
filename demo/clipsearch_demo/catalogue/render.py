"""Draw one product: its picture as it would stand in a shop's catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipsearch_demo.catalogue import scenery
from clipsearch_demo.catalogue.drawings import DRAWINGS
from clipsearch_demo.catalogue.raster import rasterise
from clipsearch_demo.catalogue.scenery import SIZE
from clipsearch_demo.catalogue.specs import ProductSpec
from clipsearch_demo.catalogue.svg import SHADES, Canvas, Inks, vary
from clipsearch_demo.catalogue.vocabulary import COLOURS, KINDS

_FOOT = 92.0
"""The y, in drawing units, at which standing products end."""

_GRAIN_LEVELS = 2.0
"""Standard deviation of the camera's noise in 8-bit levels."""


@dataclass(frozen=True)
class _Pose:
    """How the drawing lies in the picture: an SVG transform, and the row that a standing product touches."""

    transform: str
    floor: float


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.float32]:
    """One noise field for all pictures, cut at another place for each; float32 (2 SIZE, 2 SIZE, 1)."""
    noise = np.random.default_rng(0).normal(0.0, _GRAIN_LEVELS, (2 * SIZE, 2 * SIZE, 1))
    return noise.astype(np.float32)


def _pose(standing: bool, rng: Random) -> _Pose:
    mirror = -1 if rng.random() < 0.5 else 1
    x, stretch = SIZE / 2 + rng.uniform(-9, 9), rng.uniform(0.94, 1.04)
    if standing:
        scale = rng.uniform(0.84, 1.08)
        # As low as a shop would crop it, and low enough for the tallest (188 units) to keep its top in the picture.
        floor = max(scale * 188 + 10, rng.uniform(188, 216))
        y, angle, skew = floor - scale * _FOOT, rng.uniform(-1.2, 1.2), rng.uniform(-2, 2)
    else:
        scale, floor = rng.uniform(0.9, 1.16), 0.0
        y, angle, skew = SIZE / 2 + rng.uniform(-7, 7), rng.gauss(0, 7.5), rng.uniform(-5, 5)
    turn = f"translate({x:.1f} {y:.1f}) rotate({angle:.2f}) skewX({skew:.2f})"
    return _Pose(f"{turn} scale({mirror * scale * stretch:.3f} {scale:.3f})", floor)


def _product(spec: ProductSpec, pose: _Pose, rng: Random) -> Image.Image:
    """The product alone on nothing; RGBA, SIZE x SIZE."""
    inks = Inks(vary(COLOURS[spec.colour], rng), vary(COLOURS[spec.second_colour], rng))
    canvas = Canvas(inks, spec.pattern, rng)
    DRAWINGS[spec.kind](canvas, dict(spec.attributes))
    return rasterise(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}">'
        f"<defs>{SHADES}{canvas.definitions}</defs>"
        f'<g transform="{pose.transform}">{"".join(canvas.body)}</g></svg>'
    )


def render(spec: ProductSpec) -> Image.Image:
    """The picture of `spec`: RGB, SIZE x SIZE pixels; the same spec always gives the same pixels."""
    rng = Random(spec.render_seed)
    standing = KINDS[spec.kind].standing
    pose = _pose(standing, rng)
    product = _product(spec, pose, rng)
    alpha = product.getchannel("A")
    pixels = scenery.backdrop(spec.background, standing, pose.floor, rng)
    scenery.shade(pixels, alpha, standing, pose.floor, rng)
    cover = np.asarray(alpha, dtype=np.float32)[:, :, None] / 255
    pixels += (np.asarray(product, dtype=np.float32)[:, :, :3] - pixels) * cover
    pixels *= scenery.daylight(rng)
    top, left = rng.randrange(SIZE), rng.randrange(SIZE)
    pixels += _grain()[top : top + SIZE, left : left + SIZE]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
