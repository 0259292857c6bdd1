"""Scarf, tie, umbrella, watch, sunglasses."""

from __future__ import annotations

import math
from collections.abc import Mapping

from clipsearch_demo.catalogue.svg import Canvas, dark, flip, light, mirrored


def _fringe(canvas: Canvas, colour: str, length: float, *, x: tuple[float, float], y: tuple[float, float]) -> None:
    for i in range(11):
        share = i / 10
        left, top = x[0] + (x[1] - x[0]) * share, y[0] + (y[1] - y[0]) * share
        canvas.cord(
            f"M{left:.1f} {top:.1f} Q{left + canvas.rng.uniform(-2, 2):.1f} {top + length / 2:.1f} "
            f"{left + canvas.rng.uniform(-2, 2):.1f} {top + length:.1f}",
            colour,
            1.9,
        )


def scarf(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A scarf, knotted or draped; border and fringe in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    ends = ((-40, -8, 8.0), (4, 44, -6.0)) if attributes["fold"] == "knotted" else ((-62, -24, 4.0), (24, 62, -4.0))
    if attributes["fold"] == "knotted":
        tails = ("M-22 -30 L18 -30 L4 66 L-46 62 Z", "M-14 -30 L26 -28 L54 74 L6 80 Z")
        edges = ((-46, 4, 62, 66), (6, 54, 80, 74))
    else:
        tails = ("M-52 -60 L-12 -66 L-24 74 L-68 70 Z", "M12 -66 L52 -60 L68 58 L24 62 Z")
        edges = ((-68, -24, 70, 74), (24, 68, 62, 58))
    for tail, (x0, x1, y0, y1), (_, _, turn) in zip(tails, edges, ends, strict=True):
        if attributes["fringe"] == "with":
            _fringe(canvas, second, 18, x=(x0 + 2, x1 - 2), y=(y0, y1))
        canvas.cloth(tail, turn=turn)
        middle = (x0 + x1) / 2
        canvas.crease(f"M{middle * 0.4:.0f} -30 Q{middle * 0.7:.0f} 10 {middle:.0f} {y0 - 14}", 9)
        canvas.crease(f"M{middle * 0.4 + 12:.0f} -24 Q{middle * 0.7 + 12:.0f} 14 {middle + 13:.0f} {y0 - 10}", 7)
        canvas.line(f"M{x0 + 2} {y0 - 8} L{x1 - 2} {y1 - 8}", second, 7)
    if attributes["fold"] == "knotted":
        canvas.solid(mirrored("M0 -84 Q40 -82 44 -60 Q20 -50 0 -50"), dark(main, 0.5))
        canvas.cloth(mirrored("M0 -62 Q50 -62 56 -84 Q76 -50 48 -24 Q24 -8 0 -8"), turn=14, shade="fall")
        for fold in ("M-54 -66 Q-20 -34 30 -34", "M-44 -40 Q-10 -16 28 -20", "M50 -70 Q30 -48 -6 -46"):
            canvas.crease(fold, 9)
        canvas.cloth("M-20 -50 Q4 -58 26 -46 Q30 -22 20 -12 Q-4 -6 -20 -16 Q-28 -34 -20 -50 Z", turn=60, shade="ball")
        canvas.crease("M-12 -46 Q-4 -30 -10 -16", 6)
        return
    canvas.solid(mirrored("M0 -88 Q30 -86 34 -70 Q18 -60 0 -60"), dark(main, 0.5))
    canvas.cloth(mirrored("M0 -70 Q30 -70 40 -92 Q66 -84 56 -50 Q34 -40 0 -42"), turn=8, shade="fall")
    for fold in ("M-46 -76 Q-20 -58 20 -58", "M46 -72 Q20 -52 -16 -50"):
        canvas.crease(fold, 8)


def tie(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A necktie or a bow tie; lining, knot band or tip in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    if attributes["style"] == "bow":
        canvas.cord("M-92 -6 Q-50 -26 0 -8 Q50 -26 92 -6", second, 5)
        wing = "M6 -10 Q50 -46 86 -40 Q96 0 88 38 Q50 44 6 14 Z"
        for shape, turn in ((wing, -10.0), (flip(wing), 10.0)):
            canvas.cloth(shape, turn=turn, shade="fall")
        for side in (1, -1):
            canvas.crease(f"M{side * 14} -6 Q{side * 40} -18 {side * 72} -28", 9)
            canvas.crease(f"M{side * 14} 8 Q{side * 40} 18 {side * 70} 28", 9)
            canvas.crease(f"M{side * 14} 1 L{side * 54} 0", 6)
        canvas.cloth("M-15 -17 Q0 -22 15 -17 Q19 2 15 20 Q0 25 -15 20 Q-19 2 -15 -17 Z", second, patterned=False)
        canvas.crease("M-4 -14 Q-7 2 -4 18", 5)
        return
    canvas.cloth("M8 -74 L24 -66 L30 50 L16 66 L4 52 Z", second, patterned=False)
    canvas.cloth("M-18 -68 L16 -68 L32 62 L2 98 L-30 62 Z", turn=45, shade="tube")
    canvas.crease("M-6 -54 Q-10 0 -12 60", 9)
    canvas.crease("M8 -50 Q12 -20 10 6", 6)
    canvas.line("M-28 64 L2 96 L30 64", second, 5)
    canvas.cloth("M-24 -98 L22 -98 L14 -66 Q0 -60 -16 -66 Z", turn=-40, shade="tube")
    canvas.crease("M-12 -92 Q-4 -82 -6 -68", 6)
    canvas.seam("M-30 62 L-17 -66", 0.3)
    canvas.line("M-24 -98 Q0 -92 22 -98", dark(main, 0.5), 2)


def umbrella(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """An open umbrella; handle and edging in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    canvas.cord("M0 -78 L0 60", "#9b9fa5", 3.4)
    if attributes["handle"] == "curved":
        canvas.cord("M0 54 L0 80 Q0 97 15 97 Q30 97 30 80", second, 7)
    else:
        canvas.cord("M0 54 L0 94", second, 9)
    canvas.solid(mirrored("M0 12 Q20 0 36 12 Q62 -2 94 22 Q60 -30 0 -30"), dark(main, 0.6))
    canvas.cloth(mirrored("M0 -80 Q80 -78 96 24 Q66 -4 36 14 Q20 0 0 14"), shade="fall")
    ribs = ((-96, 24, -0.72), (-36, 14, -0.3), (36, 14, 0.3), (96, 24, 0.72))
    for x, y, lean in ribs[1:3]:
        canvas.seam(f"M0 -80 Q{x * 1.02 + lean * 10:.0f} -40 {x} {y}", 0.6)
    for x, y, _ in ribs:
        canvas.disc(x, y, 2.2, "#c8ccd0")
    for side in (1, -1):
        canvas.crease(f"M{side * 6} -70 Q{side * 18} -40 {side * 16} 0", 10)
        canvas.crease(f"M{side * 26} -64 Q{side * 62} -36 {side * 66} -2", 12)
        canvas.line(f"M{side * 95} 22 Q{side * 66} -5 {side * 36} 13 Q{side * 20} 0 0 13", second, 3.4)
    canvas.line("M-78 -12 Q-60 -60 -16 -72", "#ffffff", 5, opacity=0.16)
    canvas.cord("M0 -80 L0 -92", second, 3.6)


def _dial(canvas: Canvas, round_dial: bool, face: str) -> None:
    rim = "#d5d8dc"
    if round_dial:
        for radius, fill, shade in (
            (45, dark(rim, 0.4), "gloss"),
            (43, rim, "gloss"),
            (35.5, dark(rim, 0.55), "ball"),
            (34, face, "fall"),
        ):
            canvas.disc(0, 0, radius, fill, shade=shade)
    else:
        for half, fill in ((42, rim), (34.5, dark(rim, 0.55)), (33, face)):
            canvas.solid(
                f"M{-half} {4 - half} Q{-half} {-half} {4 - half} {-half} L{half - 4} {-half} "
                f"Q{half} {-half} {half} {4 - half} L{half} {half - 4} "
                f"Q{half} {half} {half - 4} {half} L{4 - half} {half} Q{-half} {half} {-half} {half - 4} Z",
                fill,
                shade="gloss" if half == 42 else "fall",
            )
    ink = "#20242a" if sum(int(face[i : i + 2], 16) for i in (1, 3, 5)) > 330 else "#f4f4f0"
    for hour in range(12):
        angle = hour * math.pi / 6
        sx, sy = math.sin(angle), -math.cos(angle)
        inner = 23 if hour % 3 == 0 else 26
        canvas.line(
            f"M{sx * inner:.1f} {sy * inner:.1f} L{sx * 30:.1f} {sy * 30:.1f}", ink, 2.6 if hour % 3 == 0 else 1.4
        )
    canvas.line("M0 0 L-13 -11", ink, 3)
    canvas.line("M0 0 L8 -24", ink, 2)
    canvas.line("M-3 8 L6 -26", "#d33b2f", 0.8)
    canvas.disc(0, 0, 2.6, rim)
    canvas.line("M-24 -14 Q-14 -28 2 -30", "#ffffff", 5, opacity=0.22)


def watch(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A wrist watch with round or square dial; the strap is in the main colour, the dial in the second."""
    main = canvas.inks.main
    for part in ("M-27 -34 L27 -34 L22 -99 L-22 -99 Z", "M-27 34 L27 34 L22 99 Q0 104 -22 99 Z"):
        canvas.cloth(part)
    for stitches in ("M-21 -40 L-17 -97 M21 -40 L17 -97", "M-21 40 L-17 95 M21 40 L17 95"):
        canvas.stitch(stitches)
    for y in (58, 70, 82):
        canvas.disc(0, y, 2.2, dark(main, 0.7), shade="fall")
    canvas.line("M-21 -84 L21 -84 L21 -98 L-21 -98 Z", "#cdd0d5", 3.4)
    canvas.crease("M-22 -52 Q0 -47 22 -52", 6)
    canvas.crease("M-22 52 Q0 47 22 52", 6)
    canvas.solid("M40 -6 L50 -6 L50 6 L40 6 Z", "#c4c8cd", shade="pipe")
    _dial(canvas, attributes["dial"] == "round", canvas.inks.second)


def sunglasses(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """Sunglasses from the front, temples folded behind; frame in the main colour, lenses in the second."""
    main, second = canvas.inks.main, canvas.inks.second
    with canvas.moved("translate(0 -4)"):
        for side in (1, -1):
            canvas.cord(f"M{side * 92} -20 Q{side * 84} 34 {side * -20} 46", dark(main, 0.15), 6)
        for side in (1, -1):
            if attributes["shape"] == "round":
                lens = (
                    f"M{side * 10} 0 C{side * 10} -52 {side * 90} -52 {side * 90} 0 C{side * 90} 50 "
                    f"{side * 10} 50 {side * 10} 0 Z"
                )
            else:
                lens = (
                    f"M{side * 10} -26 Q{side * 50} -36 {side * 94} -30 Q{side * 96} 20 {side * 80} "
                    f"32 Q{side * 46} 40 {side * 22} 30 Q{side * 10} 10 {side * 10} -26 Z"
                )
            canvas.line(lens, dark(main, 0.5), 13.4)
            canvas.solid(lens, dark(second, 0.18), shade="fall")
            canvas.line(f"M{side * 26 + 4} 16 L{side * 26 + 26} -20", "#ffffff", 6, opacity=0.32)
            canvas.line(f"M{side * 26 + 18} 20 L{side * 26 + 38} -14", "#ffffff", 2.6, opacity=0.28)
            canvas.line(lens, main, 11.6)
            canvas.line(lens, light(main, 0.5), 2, opacity=0.5)
            canvas.disc(side * 90, -22, 2.2, "#e6e8ea", shade="gloss")
        canvas.cord("M-14 -14 Q0 -26 14 -14", main, 8)
