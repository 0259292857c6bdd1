"""SVG to pixels."""

from __future__ import annotations

import io

from PIL import Image
from resvg import render, usvg

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def rasterise(markup: str) -> Image.Image:
    """The picture of an SVG document at its own size; RGBA."""
    tree = usvg.Tree.from_str(markup, usvg.Options.default())
    return Image.open(io.BytesIO(render(tree, _IDENTITY))).convert("RGBA")
