"""Small SVG vocabulary for the drawings: paths, colours, and a canvas that knows cloth, seams and folds.

Products are drawn in a box of -100 … 100 on both axes, y downwards. Soft shading is done with gradients and
layered strokes rather than blur filters, which cost several milliseconds each at this size.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from clipsearch_demo.catalogue.fabric import pattern_markup

_TOKEN = re.compile(r"[MLQCZ]|-?\d+(?:\.\d+)?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ARITY = {"M": 1, "L": 1, "Q": 2, "C": 3}


def mix(colour: str, other: str, share: float) -> str:
    """`colour` with `share` (0 … 1) of `other` mixed in; both as #rrggbb."""
    pairs = zip(rgb(colour), rgb(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def rgb(colour: str) -> tuple[int, int, int]:
    """#rrggbb as three integers 0 … 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def dark(colour: str, share: float = 0.35) -> str:
    """A shade of `colour`."""
    return mix(colour, "#000000", share)


def light(colour: str, share: float = 0.35) -> str:
    """A tint of `colour`."""
    return mix(colour, "#ffffff", share)


def vary(colour: str, rng: Random, hue: float = 0.008, value: float = 0.04) -> str:
    """`colour` moved a little in hue, saturation and value, never so far that its name would change."""
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb(colour)))
    h = (h + rng.uniform(-hue, hue)) % 1.0
    s = min(1.0, max(0.0, s * rng.uniform(0.94, 1.06)))
    v = min(1.0, max(0.0, v + rng.uniform(-value, value)))
    return "#" + "".join(f"{round(c * 255):02x}" for c in colorsys.hsv_to_rgb(h, s, v))


def _segments(d: str) -> list[list[tuple[float, float]]]:
    """A path of M, L, Q, C commands as lists of points: one point per line, two per quadratic, three per cubic."""
    tokens = _TOKEN.findall(d)
    segments: list[list[tuple[float, float]]] = []
    position, arity = 0, 1
    while position < len(tokens):
        if tokens[position] in _ARITY:
            arity = _ARITY[tokens[position]]
            position += 1
            continue
        numbers = [float(token) for token in tokens[position : position + 2 * arity]]
        segments.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
        position += 2 * arity
    return segments


def flip(d: str) -> str:
    """The same path seen in a mirror: every x negated."""
    position = -1

    def negate_x(match: re.Match[str]) -> str:
        nonlocal position
        position += 1
        return f"{-float(match[0]):g}" if position % 2 == 0 else match[0]

    return _NUMBER.sub(negate_x, d)


def mirrored(half: str) -> str:
    """Close an open right half (from the upper to the lower point on the axis) with its mirror image."""
    segments = _segments(half)
    points = [point for segment in segments for point in segment]
    letters = " LQC"
    back: list[str] = []
    end = len(points)
    for segment in reversed(segments[1:]):
        start = end - len(segment) - 1
        turned = [points[i] for i in range(end - 2, start - 1, -1)]
        back.append(letters[len(segment)] + " ".join(f"{0 - x:g} {y:g}" for x, y in turned))
        end -= len(segment)
    return half + " " + " ".join(back) + " Z"


SHADES = """
<linearGradient id="tube"><stop stop-color="#000" stop-opacity=".34"/><stop offset=".22" stop-opacity=".04"/>
<stop offset=".38" stop-color="#fff" stop-opacity=".2"/><stop offset=".6" stop-color="#fff" stop-opacity="0"/>
<stop offset="1" stop-opacity=".38"/></linearGradient>
<linearGradient id="fall" x2=".25" y2="1"><stop stop-color="#fff" stop-opacity=".24"/>
<stop offset=".45" stop-color="#fff" stop-opacity="0"/><stop offset="1" stop-opacity=".34"/></linearGradient>
<radialGradient id="ball" cx=".36" cy=".28" r=".8"><stop stop-color="#fff" stop-opacity=".5"/>
<stop offset=".4" stop-color="#fff" stop-opacity=".04"/><stop offset="1" stop-opacity=".45"/></radialGradient>
<linearGradient id="gloss" x2="1" y2="1"><stop stop-color="#fff" stop-opacity=".55"/>
<stop offset=".3" stop-color="#fff" stop-opacity=".06"/><stop offset=".75" stop-opacity=".12"/>
<stop offset="1" stop-opacity=".4"/></linearGradient>
<linearGradient id="pipe" y2="1" x2="0"><stop stop-color="#fff" stop-opacity=".3"/><stop offset=".4" stop-opacity="0"/>
<stop offset="1" stop-opacity=".5"/></linearGradient>
<radialGradient id="dent"><stop stop-opacity=".62"/><stop offset=".55" stop-opacity=".3"/>
<stop offset="1" stop-opacity="0"/></radialGradient>
"""
"""Gradients shared by all drawings; stretched over each shape's own box."""


@dataclass(frozen=True)
class Inks:
    """The two colours of one item, already varied, as #rrggbb."""

    main: str
    second: str


class Canvas:
    """Collects the markup of one product."""

    def __init__(self, inks: Inks, pattern: str, rng: Random) -> None:
        self.inks = inks
        self.rng = rng
        self.body: list[str] = []
        self._pattern = pattern
        self._pattern_scale = rng.uniform(0.96, 1.28)
        self._turns: dict[float, str] = {}

    @property
    def definitions(self) -> str:
        """Markup of the patterns used so far."""
        return "".join(
            pattern_markup(self._pattern, name, self.inks.second, turn, self._pattern_scale)
            for turn, name in self._turns.items()
        )

    @contextmanager
    def moved(self, transform: str) -> Iterator[None]:
        """Everything drawn inside is transformed."""
        self.body.append(f'<g transform="{transform}">')
        yield
        self.body.append("</g>")

    def cloth(
        self, d: str, colour: str | None = None, *, patterned: bool = True, turn: float = 0.0, shade: str = "tube"
    ) -> None:
        """A piece of fabric or leather: colour, pattern (turned by `turn` degrees), shading, a darker edge."""
        fill = colour or self.inks.main
        self.body.append(f'<path d="{d}" fill="{fill}"/>')
        if patterned and self._pattern != "plain":
            name = self._turns.setdefault(turn, f"p{len(self._turns)}")
            self.body.append(f'<path d="{d}" fill="url(#{name})"/>')
        self.body.append(
            f'<path d="{d}" fill="url(#{shade})" stroke="{dark(fill, 0.5)}" stroke-opacity=".55" stroke-width=".9"'
            ' stroke-linejoin="round"/>'
        )

    def solid(self, d: str, fill: str, *, shade: str | None = None, opacity: float = 1.0) -> None:
        """A piece without pattern or edge: metal, rubber, glass, the dark inside of a collar."""
        self.body.append(f'<path d="{d}" fill="{fill}" fill-opacity="{opacity:g}"/>')
        if shade:
            self.body.append(f'<path d="{d}" fill="url(#{shade})"/>')

    def line(self, d: str, colour: str, width: float = 1.0, *, opacity: float = 1.0, dash: str = "") -> None:
        """A stroke: straps, laces, edges."""
        style = f' stroke-dasharray="{dash}"' if dash else ""
        ends = 'stroke-linecap="round" stroke-linejoin="round"' if not dash else ""
        self.body.append(
            f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-opacity="{opacity:g}" {ends}{style}/>'
        )

    def cord(self, d: str, colour: str, width: float) -> None:
        """A round strap or wire: a dark edge, the colour, a highlight along its middle."""
        self.line(d, dark(colour, 0.45), width + 1.2)
        self.line(d, colour, width)
        self.line(d, "#ffffff", width * 0.3, opacity=0.28)

    def crease(self, d: str, width: float = 8.0, strength: float = 1.0) -> None:
        """A soft fold: a few translucent strokes laid over each other, dark with a light edge beside it."""
        for share in (1.0, 0.7, 0.42, 0.2):
            self.line(d, "#000000", width * share, opacity=0.065 * strength)
        self.body.append('<g transform="translate(2.6 -.6)">')
        for share in (0.6, 0.3):
            self.line(d, "#ffffff", width * share, opacity=0.085 * strength)
        self.body.append("</g>")

    def seam(self, d: str, opacity: float = 0.45) -> None:
        """A thin sewn line, dark with a faint light edge."""
        self.line(d, "#000000", 0.9, opacity=opacity)
        self.body.append('<g transform="translate(.9 .7)">')
        self.line(d, "#ffffff", 0.7, opacity=0.22)
        self.body.append("</g>")

    def stitch(self, d: str, colour: str | None = None) -> None:
        """A row of stitches."""
        self.line(d, colour or light(self.inks.main, 0.5), 0.9, opacity=0.75, dash="2.6 1.8")

    def disc(self, x: float, y: float, radius: float, fill: str, *, shade: str = "ball") -> None:
        """A button, stud or knob."""
        self.body.append(
            f'<circle cx="{x + 0.6:g}" cy="{y + 0.9:g}" r="{radius:g}" fill="#000" fill-opacity=".35"/>'
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}"/>'
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="url(#{shade})"/>'
        )

    def button(self, x: float, y: float, fill: str, radius: float = 2.6) -> None:
        """A sewn button with its two holes."""
        self.disc(x, y, radius, fill)
        for side in (-0.9, 0.9):
            self.body.append(f'<circle cx="{x + side:g}" cy="{y:g}" r=".55" fill="{dark(fill, 0.6)}"/>')
