"""The patterns printed or woven on cloth, as SVG pattern definitions in the item's second colour.

Periods are 15 … 26 units of the drawing's 200, so that a pattern is still there when a model sees the picture at 64 px.
"""

from __future__ import annotations

import math


def _flower(x: float, y: float, radius: float, colour: str) -> str:
    petals = "".join(
        f'<circle cx="{x + radius * math.cos(angle):.2f}" cy="{y + radius * math.sin(angle):.2f}" '
        f'r="{radius * 0.68:.2f}"/>'
        for angle in (2 * math.pi * i / 5 - math.pi / 2 for i in range(5))
    )
    leaf = (
        f"M{x - radius} {y + radius} q{-radius} {radius * 0.2} {-radius * 1.3} {radius * 1.3} "
        f"q{radius * 1.1} 0 {radius * 1.3} {-radius * 1.3}"
    )
    return (
        f'<path d="{leaf}" fill="{colour}" fill-opacity=".75"/><g fill="{colour}">{petals}</g>'
        f'<circle cx="{x}" cy="{y}" r="{radius * 0.5:.2f}" fill="#00000055"/>'
        f'<circle cx="{x}" cy="{y}" r="{radius * 0.36:.2f}" fill="#f7d774"/>'
    )


def _tile(pattern: str, colour: str) -> tuple[float, float, str]:
    """Width, height and content of one tile."""
    if pattern == "striped":
        return 20, 18, f'<rect y="2" width="20" height="7.4" fill="{colour}"/>'
    if pattern == "dotted":
        return (
            19,
            19,
            f'<g fill="{colour}"><circle cx="4.7" cy="4.7" r="3.7"/><circle cx="14.2" cy="14.2" r="3.7"/></g>',
        )
    if pattern == "checked":
        band = f'fill="{colour}" fill-opacity=".62"'
        return 21, 21, f'<rect width="21" height="8" {band}/><rect width="8" height="21" {band}/>'
    if pattern == "floral":
        return 30, 30, _flower(8, 8, 4.3, colour) + _flower(22.5, 23, 4.3, colour)
    if pattern == "zigzag":
        return (
            20,
            17,
            f'<path d="M-2 12.2 L0 10 L10 2 L20 10 L22 12.2" fill="none" stroke="{colour}" stroke-width="5"/>',
        )
    if pattern == "diamond":
        diamond = f'<path d="M11 1 L20 15 L11 29 L2 15 Z" fill="{colour}"/>'
        lines = f'<path d="M0 0 L22 30 M22 0 L0 30" stroke="{colour}" stroke-opacity=".8" stroke-width="1.1"/>'
        return 22, 30, diamond + lines
    raise ValueError(f"unknown pattern {pattern!r}")


def pattern_markup(pattern: str, name: str, colour: str, turn: float, scale: float) -> str:
    """`<pattern id=name>` in `colour`, turned by `turn` degrees and enlarged by `scale`."""
    width, height, content = _tile(pattern, colour)
    return (
        f'<pattern id="{name}" patternUnits="userSpaceOnUse" width="{width}" height="{height}" '
        f'patternTransform="rotate({turn:g}) scale({scale:.3f})">{content}</pattern>'
    )
