"""Handbag and backpack."""

from __future__ import annotations

from collections.abc import Mapping

from clipsearch_demo.catalogue.svg import Canvas, dark, light, mirrored

_GOLD = "#d8b45a"


def handbag(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A handbag, round or boxy, with a handle or a chain; flap and handle in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    if attributes["strap"] == "chain":
        canvas.line("M-62 -6 Q-58 -96 0 -96 Q58 -96 62 -6", dark(_GOLD, 0.5), 6.4)
        canvas.line("M-62 -6 Q-58 -96 0 -96 Q58 -96 62 -6", _GOLD, 5, dash="5 2.2")
        canvas.line("M-62 -7 Q-58 -97 0 -97 Q58 -97 62 -7", "#fff6d8", 1.4, dash="3 4.2")
    else:
        canvas.cord("M-36 -12 Q-36 -74 0 -74 Q36 -74 36 -12", dark(second, 0.25), 8)
        canvas.cord("M-32 -8 Q-32 -66 0 -66 Q32 -66 32 -8", second, 8)
    if attributes["shape"] == "round":
        body = mirrored("M0 -14 L52 -14 Q78 10 82 52 Q84 92 56 92 L0 92")
        flap = mirrored("M0 -18 L54 -18 Q72 -2 76 18 Q60 46 0 48")
    else:
        body = mirrored("M0 -14 L74 -14 L82 84 Q82 92 74 92 L0 92")
        flap = mirrored("M0 -18 L76 -18 L79 26 Q78 32 70 32 L0 32")
    canvas.cloth(body, turn=0)
    canvas.crease("M-70 60 Q-62 80 -50 88", 9)
    canvas.crease("M66 56 Q62 78 52 88", 9)
    canvas.crease("M-40 74 Q0 84 40 72", 8, 0.8)
    canvas.stitch("M-70 86 Q0 90 70 86", light(main, 0.3))
    canvas.cloth(flap, second, patterned=False, shade="fall")
    with canvas.moved("translate(0 -1.4) scale(.95 .93)"):
        canvas.stitch(flap, light(second, 0.45))
    bottom = 48 if attributes["shape"] == "round" else 32
    canvas.solid(
        f"M-10 {bottom - 12} L10 {bottom - 12} L10 {bottom + 6} Q0 {bottom + 12} -10 {bottom + 6} Z",
        _GOLD,
        shade="gloss",
    )
    canvas.disc(0, bottom - 3, 3, dark(_GOLD, 0.2))
    for x in (-36, 36):
        canvas.disc(x, -10, 4, _GOLD, shade="gloss")


def backpack(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A backpack with a front pocket; flap or zip, pocket and straps in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    for side in (1, -1):
        canvas.cord(
            f"M{side * 50} -34 Q{side * 80} -10 {side * 70} 40 Q{side * 66} 66 {side * 54} 78", dark(second, 0.2), 9
        )
    canvas.cord("M-16 -84 Q-14 -99 0 -99 Q14 -99 16 -84", second, 6)
    canvas.cloth(mirrored("M0 -86 Q54 -88 58 -36 L64 66 Q64 92 44 92 L0 92"))
    canvas.crease("M-52 -30 Q-48 10 -54 50", 9)
    canvas.crease("M50 -30 Q44 10 52 50", 9)
    pocket = mirrored("M0 20 L40 20 Q46 20 46 28 L47 70 Q47 82 38 82 L0 82")
    canvas.cloth(pocket, second, patterned=False, shade="fall")
    with canvas.moved("translate(0 3.6) scale(.92)"):
        canvas.stitch(pocket, light(second, 0.45))
    canvas.line("M-36 31 L36 31", dark(second, 0.6), 3.4)
    canvas.line("M-36 31 L36 31", "#d7d9dc", 1.6, dash="1.5 1.2")
    canvas.solid("M30 30 L35 30 L35 43 L30 43 Z", "#e0e2e5", shade="gloss")
    if attributes["closure"] == "flap":
        canvas.cloth(mirrored("M0 -90 Q56 -92 61 -38 L61 -4 Q58 10 44 10 L0 10"), turn=0, shade="fall")
        canvas.stitch("M-56 -2 Q-54 5 -42 5 L42 5 Q54 5 56 -2", light(main, 0.4))
        for x in (-26, 26):
            canvas.cloth(
                f"M{x - 5} -20 L{x + 5} -20 L{x + 5} 26 L{x} 31 L{x - 5} 26 Z",
                dark(second, 0.15),
                patterned=False,
                shade="fall",
            )
            canvas.line(f"M{x - 7} 2 L{x + 7} 2 L{x + 7} 13 L{x - 7} 13 Z", _GOLD, 2.4)
    else:
        arch = "M-50 2 Q-54 -66 0 -68 Q54 -66 50 2"
        canvas.line(arch, dark(main, 0.6), 5)
        canvas.line(arch, "#d7d9dc", 2.2, dash="1.7 1.3")
        canvas.solid("M-53 0 L-47 0 L-47 16 L-53 16 Z", "#e0e2e5", shade="gloss")
        canvas.disc(0, -30, 10, second)
        canvas.disc(0, -30, 5, light(second, 0.5))
