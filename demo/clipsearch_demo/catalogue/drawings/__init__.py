"""How each kind of product is drawn: one function per kind, one module per family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clipsearch_demo.catalogue.drawings import bags, bottoms, footwear, headwear, home, outerwear, small, tops
from clipsearch_demo.catalogue.svg import Canvas

Drawing = Callable[[Canvas, Mapping[str, str]], None]
"""Draws one product onto a canvas, given its attributes."""

DRAWINGS: dict[str, Drawing] = {
    "t-shirt": tops.t_shirt,
    "shirt": tops.shirt,
    "sweater": tops.sweater,
    "hoodie": tops.hoodie,
    "jacket": outerwear.jacket,
    "coat": outerwear.coat,
    "dress": outerwear.dress,
    "skirt": bottoms.skirt,
    "trousers": bottoms.trousers,
    "shorts": bottoms.shorts,
    "socks": bottoms.socks,
    "sneakers": footwear.sneakers,
    "boots": footwear.boots,
    "heels": footwear.heels,
    "handbag": bags.handbag,
    "backpack": bags.backpack,
    "hat": headwear.hat,
    "cap": headwear.cap,
    "beanie": headwear.beanie,
    "scarf": small.scarf,
    "tie": small.tie,
    "umbrella": small.umbrella,
    "watch": small.watch,
    "sunglasses": small.sunglasses,
    "mug": home.mug,
    "lamp": home.lamp,
    "vase": home.vase,
    "cushion": home.cushion,
}
