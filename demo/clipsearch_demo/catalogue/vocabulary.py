"""What the shop sells: kinds of product with their attributes, colours, patterns and backgrounds.

Plain data; the drawings, the captions and the tests all read it, so that there is one list of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checked", "floral", "zigzag", "diamond")

COLOURS: dict[str, str] = {
    "red": "#d2232c",
    "orange": "#f07d1c",
    "yellow": "#f5cb2b",
    "green": "#2f9246",
    "turquoise": "#33c1b8",
    "blue": "#2e6fd8",
    "navy": "#1f2a5c",
    "purple": "#7b3fa8",
    "pink": "#f28bb4",
    "brown": "#7d4a2a",
    "beige": "#d9c3a0",
    "black": "#232326",
    "grey": "#8d9196",
    "white": "#f5f4f0",
}
"""Colour name to sRGB hex, before the small per-item variation that the renderer adds."""

BACKGROUNDS: dict[str, str] = {
    "white": "#f3f2f0",
    "grey": "#b9bcc0",
    "blue": "#b7cce0",
    "pink": "#edcdd2",
    "green": "#bed3bd",
    "cream": "#efe3c8",
    "wood": "#a9764a",
    "marble": "#e6e5e6",
}
"""Background name to its base colour; walls are pastel so that they never pass for a product's colour."""


@dataclass(frozen=True)
class Kind:
    """One kind of product.

    `attributes` maps an attribute to its possible values, `patterns` lists the patterns that can be seen on it,
    `prices` is the range in euros, and `standing` says whether it stands on a surface or lies flat.
    """

    name: str
    prices: tuple[int, int]
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    patterns: tuple[str, ...] = PATTERNS
    standing: bool = False
    plural: bool = False


_KINDS = (
    Kind("t-shirt", (12, 45), {"sleeves": ("short", "long"), "neck": ("round", "v-neck")}),
    Kind("shirt", (25, 90), {"sleeves": ("short", "long"), "pocket": ("with", "without")}),
    Kind("sweater", (30, 120), {"neck": ("round", "v-neck", "turtleneck")}),
    Kind("hoodie", (30, 95), {"closure": ("zip", "pullover")}),
    Kind("jacket", (60, 240), {"closure": ("zip", "buttoned"), "collar": ("stand-up", "wide")}),
    Kind("coat", (90, 380), {"breast": ("single", "double"), "belt": ("with", "without")}),
    Kind("dress", (35, 180), {"sleeves": ("none", "short", "long"), "length": ("short", "long")}),
    Kind("skirt", (20, 90), {"length": ("short", "long"), "cut": ("pleated", "flared", "pencil")}),
    Kind("trousers", (30, 130), {"cut": ("slim", "wide-leg")}, plural=True),
    Kind("shorts", (18, 60), {"waist": ("belted", "drawstring")}, plural=True),
    Kind("socks", (5, 18), {"length": ("short", "long")}, plural=True),
    Kind("sneakers", (45, 160), {"height": ("low", "high")}, standing=True, plural=True),
    Kind("boots", (70, 260), {"height": ("ankle", "knee"), "heel": ("flat", "high")}, standing=True, plural=True),
    Kind("heels", (50, 220), {"heel": ("stiletto", "block"), "strap": ("with", "without")}, standing=True, plural=True),
    Kind("handbag", (45, 320), {"strap": ("handle", "chain"), "shape": ("round", "boxy")}, standing=True),
    Kind("backpack", (35, 150), {"closure": ("flap", "zip")}, standing=True),
    Kind("hat", (20, 85), {"brim": ("wide", "narrow")}),
    Kind("cap", (12, 40), {"badge": ("with", "without")}),
    Kind("beanie", (10, 35), {"pompom": ("with", "without")}),
    Kind("scarf", (15, 80), {"fringe": ("with", "without"), "fold": ("knotted", "draped")}),
    Kind("tie", (15, 70), {"style": ("long", "bow")}),
    Kind("umbrella", (15, 60), {"handle": ("curved", "straight")}),
    Kind("watch", (40, 420), {"dial": ("round", "square")}, ("plain", "striped")),
    Kind("sunglasses", (20, 180), {"shape": ("round", "square")}, ("plain",), plural=True),
    Kind("mug", (8, 28), {"shape": ("tall", "wide")}, standing=True),
    Kind("lamp", (30, 190), {"base": ("tripod", "column")}, standing=True),
    Kind("vase", (15, 110), {"shape": ("round", "slender"), "flowers": ("with", "without")}, standing=True),
    Kind("cushion", (14, 60), {"shape": ("round", "square")}),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
