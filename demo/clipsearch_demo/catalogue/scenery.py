"""Where a product is photographed: papers, walls, wood, marble; the shadow it casts and the light on the picture.

Pixels rather than SVG: a gradient over the whole picture costs a software rasteriser several milliseconds, numpy a
fraction of one. Wood and marble are drawn once per process in a few variants and then cut at another place for each
picture; a variant depends on its number alone, so the pictures don't depend on which process drew them.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from clipsearch_demo.catalogue.raster import rasterise
from clipsearch_demo.catalogue.svg import dark, light, mix, rgb, vary
from clipsearch_demo.catalogue.vocabulary import BACKGROUNDS

SIZE = 256
"""Edge of a picture in pixels."""

_SLAB = 400
_VARIANTS = 10
_SHADOW_CELLS = 64


def _planks(rng: Random, base: str) -> str:
    """Wooden boards, each with its own tone, grain and knots."""
    parts: list[str] = []
    y = 0.0
    while y < _SLAB:
        height = rng.uniform(40, 66)
        tone = vary(base, rng, hue=0.012, value=0.06)
        parts.append(f'<rect y="{y:.1f}" width="{_SLAB}" height="{height:.1f}" fill="{tone}"/>')
        for _ in range(16):
            line, bend = y + rng.uniform(1, height - 1), rng.uniform(-7, 7)
            parts.append(
                f'<path d="M0 {line:.1f} C{_SLAB * 0.3:.0f} {line + bend:.1f} {_SLAB * 0.7:.0f} '
                f'{line - bend:.1f} {_SLAB} {line + bend / 2:.1f}" '
                f'fill="none" stroke="{dark(tone, 0.32) if rng.random() < 0.7 else light(tone, 0.2)}" '
                f'stroke-opacity="{rng.uniform(0.12, 0.45):.2f}" stroke-width="{rng.uniform(0.5, 2.4):.1f}"/>'
            )
        for _ in range(rng.choice((0, 0, 1))):
            x, knot = rng.uniform(20, _SLAB - 20), y + height / 2
            for rx, opacity in ((15, 0.2), (10, 0.35), (5, 0.6)):
                parts.append(
                    f'<ellipse cx="{x:.0f}" cy="{knot:.0f}" rx="{rx}" ry="{rx * 0.4:.1f}" '
                    f'fill="{dark(tone, 0.4)}" fill-opacity="{opacity}"/>'
                )
        parts.append(
            f'<rect y="{y + height - 1.4:.1f}" width="{_SLAB}" height="1.8" '
            f'fill="{dark(tone, 0.65)}" fill-opacity=".7"/>'
            f'<rect y="{y + 0.6:.1f}" width="{_SLAB}" height="1" fill="#fff" fill-opacity=".16"/>'
        )
        y += height
    return "".join(parts)


def _marble(rng: Random, base: str) -> str:
    """A pale slab: broad clouds of grey, thin veins within them."""
    parts = [f'<rect width="{_SLAB}" height="{_SLAB}" fill="{base}"/>']
    for _ in range(9):
        d = f"M{rng.uniform(-60, _SLAB):.0f} {rng.uniform(-40, _SLAB):.0f}"
        for _ in range(5):
            d += (
                f" q{rng.uniform(8, 34):.0f} {rng.uniform(-16, 16):.0f} {rng.uniform(26, 70):.0f} "
                f"{rng.uniform(-16, 34):.0f}"
            )
        for width, opacity in ((22.0, 0.03), (14.0, 0.04), (8.0, 0.05), (3.0, 0.1), (0.8, 0.32)):
            parts.append(
                f'<path d="{d}" fill="none" stroke="#6f737c" stroke-opacity="{opacity}" '
                f'stroke-width="{width * rng.uniform(0.6, 1.3):.1f}" stroke-linecap="round"/>'
            )
    return "".join(parts)


@lru_cache(maxsize=2 * _VARIANTS)
def _slab(background: str, variant: int) -> NDArray[np.float32]:
    """One variant of a textured surface; float32 (_SLAB, _SLAB, 3), levels 0 … 255."""
    rng = Random(f"slab/{background}/{variant}")
    base = vary(BACKGROUNDS[background], rng, hue=0.008, value=0.05)
    content = {"wood": _planks, "marble": _marble}[background](rng, base)
    picture = rasterise(f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SLAB}" height="{_SLAB}">{content}</svg>')
    return np.asarray(picture.convert("RGB"), dtype=np.float32)


def _paper(colour: str, top: str, height: int) -> NDArray[np.float32]:
    """A plain surface from `top`'s colour down to `colour`; float32 (height, SIZE, 3)."""
    blend = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = np.array(rgb(top), np.float32) * (1 - blend) + np.array(rgb(colour), np.float32) * blend
    return np.broadcast_to(rows, (height, SIZE, 3)).copy()


def _cut(background: str, height: int, rng: Random, flat: bool) -> NDArray[np.float32]:
    """A piece of a textured surface; float32 (height, SIZE, 3). Seen from the side it is foreshortened."""
    slab = _slab(background, rng.randrange(_VARIANTS))
    step = 1 if flat else 2
    room_y, room_x = _SLAB - height * step, _SLAB - SIZE
    top, left = rng.randrange(room_y + 1), rng.randrange(room_x + 1)
    piece = slab[top : top + height * step : step, left : left + SIZE]
    if flat and rng.random() < 0.5 and height == SIZE:
        piece = piece.transpose(1, 0, 2)
    return piece[:, ::-1] if rng.random() < 0.5 else piece


def backdrop(background: str, standing: bool, floor: float, rng: Random) -> NDArray[np.float32]:
    """The background; float32 (SIZE, SIZE, 3), levels 0 … 255.

    A standing product gets a wall and a surface to stand on, whose back edge lies some pixels above `floor`, the
    product's lowest row.
    """
    textured = background in ("wood", "marble")
    base = vary(BACKGROUNDS[background], rng, hue=0.006, value=0.02)
    if not standing:
        if textured:
            return _cut(background, SIZE, rng, flat=True).copy()
        return _paper(dark(base, 0.07), light(base, 0.2), SIZE)
    edge = int(floor - rng.uniform(18, 38))
    if textured:
        wall = _paper(mix("#e4e0da", base, 0.15), mix("#f2efea", base, 0.1), SIZE)
        wall[edge:] = _cut(background, SIZE - edge, rng, flat=False)
        wall[edge : edge + 3] *= np.array([0.72, 0.86, 0.95], np.float32)[:, None, None]
        return wall
    wall = _paper(base, light(base, 0.25), SIZE)
    ground = _paper(light(base, 0.3), dark(base, 0.12), SIZE - edge)
    if rng.random() < 0.5:
        # The sweep of a studio: no edge between wall and floor, only a change of light.
        fade = np.clip(np.arange(SIZE - edge, dtype=np.float32) / 22, 0, 1)[:, None, None]
        wall[edge:] = wall[edge:] * (1 - fade) + ground * fade
        return wall
    wall[edge:] = ground
    wall[edge - 6 : edge] = np.array(rgb(light(base, 0.6)), np.float32)
    wall[edge : edge + 2] *= 0.82
    return wall


def _blurred(mask: Image.Image, radius: float) -> NDArray[np.float32]:
    """A coarse mask blurred and brought to picture size; float32 (SIZE, SIZE, 1) in 0 … 1."""
    soft = mask.filter(ImageFilter.GaussianBlur(radius * _SHADOW_CELLS / SIZE))
    full = soft.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    levels: NDArray[np.float32] = np.asarray(full, dtype=np.float32)[:, :, None]
    return levels / np.float32(255)


def shade(backdrop_: NDArray[np.float32], alpha: Image.Image, standing: bool, floor: float, rng: Random) -> None:
    """Darken `backdrop_` in place by the product's shadow, made from its silhouette `alpha` (mode L, SIZE x SIZE).

    Lying flat it is the silhouette, moved and blurred. Standing it is the silhouette folded down onto the ground,
    plus a tight dark line where it touches.
    """
    coarse = alpha.resize((_SHADOW_CELLS, _SHADOW_CELLS), Image.Resampling.BOX)
    per_cell = SIZE / _SHADOW_CELLS
    if not standing:
        dx, dy = rng.uniform(2, 7), rng.uniform(4, 10)
        moved = coarse.transform(coarse.size, Image.Transform.AFFINE, (1, 0, -dx / per_cell, 0, 1, -dy / per_cell))
        tight = _blurred(moved, rng.uniform(4, 8))
        wide = _blurred(moved, 16)
        backdrop_ *= 1 - rng.uniform(0.34, 0.5) * tight - 0.16 * wide
        return
    ground = floor / per_cell
    for squash, lean, radius, strength in ((0.2, rng.uniform(-0.7, 0.9), 9, 0.42), (0.045, 0.1, 3.4, 0.62)):
        fold = (1, -lean, lean * ground, 0, 1 / squash, ground - (ground + 0.4) / squash)
        folded = coarse.transform(coarse.size, Image.Transform.AFFINE, fold, Image.Resampling.BILINEAR)
        backdrop_ *= 1 - strength * _blurred(folded, radius)


@lru_cache(maxsize=1)
def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x and y of every pixel in -1 … 1; float32 (1, SIZE, 1) and (SIZE, 1, 1)."""
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    return axis[None, :, None], axis[:, None, None]


def daylight(rng: Random) -> NDArray[np.float32]:
    """What to multiply a picture by: a brighter side, the lens's vignette, warm or cool light; (SIZE, SIZE, 3)."""
    x, y = _grid()
    slope_x, slope_y = rng.uniform(-0.1, 0.1), rng.uniform(-0.09, 0.02)
    vignette = rng.uniform(0.02, 0.13)
    field = rng.uniform(0.95, 1.06) + slope_x * x + slope_y * y - vignette * (x * x + y * y) ** 2 * 0.5
    warmth = rng.uniform(-0.025, 0.03)
    tint: NDArray[np.float32] = np.array([1 + warmth, 1, 1 - warmth], np.float32)
    return (field * tint).astype(np.float32, copy=False)
