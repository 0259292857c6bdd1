"""Jacket, coat, dress."""

from __future__ import annotations

from collections.abc import Mapping

from clipsearch_demo.catalogue.drawings.tops import sleeves, torso_folds
from clipsearch_demo.catalogue.svg import Canvas, dark, flip, light, mirrored


def _zip(canvas: Canvas, top: float, bottom: float) -> None:
    canvas.line(f"M0 {top} L0 {bottom}", dark(canvas.inks.main, 0.65), 6)
    canvas.line(f"M0 {top} L0 {bottom}", "#cfd2d6", 3, dash="1.7 1.3")
    canvas.solid(f"M-3 {top + 2} L3 {top + 2} L2 {top + 16} L-2 {top + 16} Z", "#e3e5e8", shade="gloss")


def jacket(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A short jacket: zip or studs, stand-up or wide collar, cuffs and hem band in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    canvas.solid("M-22 -80 Q0 -88 22 -80 L10 -40 L-10 -40 Z", dark(main, 0.55))
    sleeves(canvas, True, second)
    canvas.cloth(mirrored("M0 -58 L22 -80 L46 -74 Q44 -50 49 -28 L50 58 Q22 64 0 64"))
    torso_folds(canvas)
    canvas.cloth(mirrored("M0 62 Q24 62 51 56 L49 76 Q22 82 0 82"), second, patterned=False)
    canvas.seam("M-44 -24 Q0 -18 44 -24", 0.5)
    canvas.stitch("M-44 -21 Q0 -15 44 -21")
    if attributes["closure"] == "zip":
        _zip(canvas, -50, 80)
    else:
        canvas.cloth("M-6 -54 L6 -54 L6 82 L-6 82 Z", dark(main, 0.08), patterned=False, shade="pipe")
        canvas.stitch("M-4.4 -50 L-4.4 80 M4.4 -50 L4.4 80")
        for y in range(-40, 80, 18):
            canvas.disc(0, y, 3.4, "#d9b35c", shade="gloss")
    for side in (1, -1):
        pocket = f"M{side * 16} 22 L{side * 38} 16 L{side * 38} 25 L{side * 16} 31 Z"
        canvas.cloth(pocket, dark(main, 0.12), patterned=False, shade="fall")
    if attributes["collar"] == "wide":
        collar = "M0 -48 L-18 -88 Q-34 -82 -40 -66 L-26 -34 L-20 -44 L-14 -36 Z"
        for shape in (collar, flip(collar)):
            canvas.cloth(shape, light(main, 0.06), patterned=False, shade="fall")
            canvas.stitch(shape, dark(main, 0.3))
    else:
        for shape in ("M0 -60 L-22 -78 L-24 -95 Q-10 -86 0 -84 Z", "M0 -60 L22 -78 L24 -95 Q10 -86 0 -84 Z"):
            canvas.cloth(shape, second, patterned=False, shade="fall")


def coat(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A long coat with lapels, one or two rows of buttons, a belt or none; buttons and belt in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    with canvas.moved("scale(.84 .93) translate(0 -2)"):
        canvas.solid("M-24 -92 Q0 -100 24 -92 L10 -40 L-10 -40 Z", dark(main, 0.6))
        with canvas.moved("translate(0 -14) scale(1 .95)"):
            sleeves(canvas, True, dark(main, 0.2))
        canvas.cloth(mirrored("M0 -30 L24 -92 L48 -86 Q44 -60 46 -40 Q40 -10 46 14 Q58 60 62 96 Q30 104 0 104"))
        for fold in (
            "M26 20 Q34 60 36 98",
            "M-26 20 Q-32 60 -38 98",
            "M-12 24 Q-14 66 -18 98",
            "M40 -44 Q30 -28 28 -6",
        ):
            canvas.crease(fold, 9)
        canvas.seam("M-2 -28 L-3 103", 0.7)
        rows = (-12, 12) if attributes["breast"] == "double" else (6,)
        for x in rows:
            for y in (-22, 2, 44, 66):
                canvas.button(x, y, second, 4.4)
        for side in (1, -1):
            pocket = f"M{side * 24} 36 L{side * 44} 32 L{side * 46} 42 L{side * 26} 46 Z"
            canvas.cloth(pocket, dark(main, 0.1), patterned=False, shade="fall")
        lapel = "M0 -26 L-20 -97 Q-36 -92 -42 -78 L-30 -60 L-38 -56 Z"
        for shape in (lapel, flip(lapel)):
            canvas.cloth(shape, dark(main, 0.08), turn=24, shade="fall")
        if attributes["belt"] == "with":
            canvas.cloth(mirrored("M0 12 Q26 12 45 8 L47 21 Q26 25 0 25"), second, patterned=False, shade="pipe")
            canvas.line("M-9 9 L9 9 L9 28 L-9 28 Z", "#d8b765", 2.6)
            canvas.cloth("M9 22 L18 22 L22 52 L13 53 Z", dark(second, 0.12), patterned=False, shade="fall")


def _dress_sleeves(canvas: Canvas, kind: str) -> None:
    if kind == "none":
        return
    arm = "M30 -82 Q48 -80 54 -62 L66 -34 Q56 -26 44 -24 L28 -50 Z"
    if kind == "long":
        arm = "M30 -82 Q48 -80 54 -58 L76 34 Q68 42 58 42 L28 -48 Z"
    for shape, turn in ((arm, -22.0), (flip(arm), 22.0)):
        canvas.cloth(shape, turn=turn)
    for fold in ("M46 -64 Q52 -48 50 -34", "M-46 -64 Q-52 -48 -50 -34"):
        canvas.crease(fold, 6)


def dress(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A dress with fitted bodice and flared skirt; the waist band is in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    end = 96 if attributes["length"] == "long" else 58
    wide = 66 if attributes["length"] == "long" else 60
    canvas.solid("M-20 -84 Q0 -80 20 -84 L10 -58 L-10 -58 Z", dark(main, 0.5))
    _dress_sleeves(canvas, attributes["sleeves"])
    shoulder = 30 if attributes["sleeves"] != "none" else 27
    canvas.cloth(mirrored(f"M0 -60 Q16 -62 19 -84 L{shoulder} -84 Q27 -60 35 -46 Q28 -24 25 -8 L0 -4"))
    for fold in ("M20 -44 Q14 -26 12 -10", "M-20 -44 Q-14 -26 -12 -10"):
        canvas.crease(fold, 7)
    low = end + 6
    canvas.cloth(
        mirrored(
            f"M0 -4 L25 -6 Q36 {end * 0.4:.0f} {wide} {end} Q{wide * 0.8:.0f} {low} {wide * 0.62:.0f} {low - 4} "
            f"Q{wide * 0.4:.0f} {low + 4} {wide * 0.2:.0f} {low - 1} Q{wide * 0.1:.0f} {low - 2} 0 {low}"
        )
    )
    for x, bottom in ((-14, -40), (-8, -20), (1, 2), (9, 22), (16, 44)):
        canvas.crease(f"M{x} 6 Q{x + bottom * 0.2:.0f} {end * 0.5:.0f} {bottom} {end - 2}", canvas.rng.uniform(6, 11))
    canvas.stitch(f"M{-wide + 6} {end - 3} Q0 {low - 1} {wide - 6} {end - 3}", dark(main, 0.3))
    canvas.cloth(mirrored("M0 -11 Q14 -11 26 -14 L26 -2 Q14 1 0 1"), second, patterned=False, shade="pipe")
    rim = "M0 -60 Q16 -62 19 -84"
    for half in (rim, flip(rim)):
        canvas.line(half, second, 2.6)
