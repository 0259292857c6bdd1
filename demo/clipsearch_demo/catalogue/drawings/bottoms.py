"""Skirt, trousers, shorts, socks."""

from __future__ import annotations

from collections.abc import Mapping

from clipsearch_demo.catalogue.svg import Canvas, dark, flip, light, mirrored


def _waistband(canvas: Canvas, half: float, top: float, colour: str) -> None:
    canvas.cloth(
        mirrored(
            f"M0 {top + 2} Q{half * 0.6:.0f} {top + 2} {half} {top} L{half + 1} {top + 11} "
            f"Q{half * 0.6:.0f} {top + 13} 0 {top + 13}"
        ),
        colour,
        patterned=False,
        shade="pipe",
    )


def skirt(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A skirt: pleated, flared or pencil; waistband in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    end = 84 if attributes["length"] == "long" else 38
    cut = attributes["cut"]
    wide = {"pleated": 66, "flared": 84, "pencil": 46}[cut] - (8 if end < 80 and cut != "pencil" else 0)
    belly = {"pleated": 44, "flared": 44, "pencil": 58}[cut]
    with canvas.moved(f"translate(0 {8 if end > 80 else 30})"):
        hem = f"Q{wide * 0.5:.0f} {end + 10} 0 {end + 8}"
        if cut == "flared":
            hem = (
                f"Q{wide * 0.86:.0f} {end + 8} {wide * 0.7:.0f} {end + 4} Q{wide * 0.5:.0f} "
                f"{end + 12} {wide * 0.34:.0f} {end + 6} "
                f"Q{wide * 0.16:.0f} {end + 12} 0 {end + 9}"
            )
        canvas.cloth(mirrored(f"M0 -76 L38 -78 Q{belly} -30 {wide} {end} {hem}"))
        if cut == "pleated":
            for i in range(-5, 6):
                canvas.crease(f"M{i * 6.4:.1f} -64 L{i * wide / 5.6:.1f} {end + 3}", 5)
                canvas.line(f"M{i * 6.4:.1f} -64 L{i * wide / 5.6:.1f} {end + 3}", "#000000", 1.1, opacity=0.35)
        elif cut == "flared":
            for lean in (-3, -2, -0.6, 0.8, 2.1, 3):
                bend = f"M{lean * 8:.1f} -50 Q{lean * 9:.1f} 0 {lean * wide / 4:.1f} {end}"
                canvas.crease(bend, canvas.rng.uniform(8, 13))
        else:
            canvas.seam(f"M14 -62 Q18 0 12 {end + 4}")
            canvas.crease("M-30 -40 Q-10 -30 10 -38", 7)
            canvas.crease(f"M-20 {end - 30} Q0 {end - 22} 22 {end - 34}", 7)
            canvas.line(f"M12 {end - 24} L12 {end + 8}", dark(main, 0.6), 2)
        canvas.stitch(f"M{-wide + 4} {end - 3} Q0 {end + 5} {wide - 4} {end - 3}", dark(main, 0.35))
        _waistband(canvas, 38, -82, second)


def trousers(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """Trousers laid flat: slim or wide-leg; waistband and turn-ups in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    slim = attributes["cut"] == "slim"
    outer, inner = (38, 16) if slim else (62, 12)
    leg = (
        f"M0 -84 L38 -86 Q48 -40 {44 if slim else 52} 0 L{outer} 88 Q{(outer + inner) / 2:.0f} 93 "
        f"{inner} 90 L5 -26 L0 -26 Z"
    )
    for shape, turn in ((leg, -3.0), (flip(leg), 3.0)):
        canvas.cloth(shape, turn=turn)
    for side in (1, -1):
        canvas.crease(f"M{side * 5} -28 Q{side * 18} -26 {side * 30} -34", 7)
        canvas.crease(f"M{side * 24} -10 Q{side * 26} 40 {side * (outer + inner) / 2:.0f} 84", 9)
        canvas.crease(f"M{side * 14} 18 Q{side * 24} 24 {side * 36} 16", 6, 0.8)
        pocket = f"M{side * 20} -74 Q{side * 24} -58 {side * 41} -54"
        canvas.seam(pocket)
        canvas.stitch(f"M{side * 18} -72 Q{side * 22} -55 {side * 41} -51")
        turn_up = (
            f"M{side * outer} 80 Q{side * (outer + inner) / 2:.0f} 85 {side * inner} 82 "
            f"L{side * inner} 92 Q{side * (outer + inner) / 2:.0f} 95 {side * outer} 90 Z"
        )
        canvas.cloth(turn_up, second, patterned=False, shade="fall")
    canvas.seam("M0 -74 L0 -26", 0.6)
    canvas.stitch("M7 -74 Q8 -46 1 -40")
    _waistband(canvas, 38, -90, second)
    for x in (-26, 26):
        canvas.cloth(
            f"M{x - 2} -92 L{x + 2} -92 L{x + 2} -76 L{x - 2} -76 Z", dark(main, 0.15), patterned=False, shade="fall"
        )
    canvas.button(0, -82, "#c8a256", 3)


def shorts(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """Shorts: belted or with a drawstring, side stripe and belt in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    with canvas.moved("translate(0 8) scale(1.12)"):
        leg = "M0 -56 L46 -58 Q56 -20 66 40 Q40 50 8 46 L2 -4 L0 -4 Z"
        for shape, turn in ((leg, -6.0), (flip(leg), 6.0)):
            canvas.cloth(shape, turn=turn)
        for side in (1, -1):
            canvas.crease(f"M{side * 4} -6 Q{side * 18} -4 {side * 30} -14", 8)
            canvas.crease(f"M{side * 30} -20 Q{side * 34} 10 {side * 38} 42", 10)
            canvas.line(f"M{side * 49} -46 Q{side * 56} -10 {side * 62} 41", second, 5)
            canvas.stitch(f"M{side * 9} 40 Q{side * 40} 44 {side * 64} 34")
            canvas.seam(f"M{side * 24} -46 Q{side * 30} -30 {side * 47} -26")
        canvas.seam("M0 -46 L0 -4", 0.6)
        if attributes["waist"] == "belted":
            _waistband(canvas, 46, -62, second)
            canvas.line("M-8 -63 L8 -63 L8 -47 L-8 -47 Z", "#dcbf72", 2.8)
            canvas.line("M-8 -55 L2 -55", "#dcbf72", 2)
            return
        _waistband(canvas, 46, -62, dark(main, 0.12))
        for i in range(-8, 9):
            canvas.line(f"M{i * 5.4:.1f} -60 L{i * 5.4:.1f} -49", "#000000", 1.2, opacity=0.25)
        for side in (1, -1):
            canvas.cord(f"M0 -54 Q{side * 10} -40 {side * 6} -18", light(second, 0.1), 3)


def socks(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A pair of socks, ankle or knee length; toe, heel and cuff in the second colour."""
    second = canvas.inks.second
    top = -88 if attributes["length"] == "long" else -34
    for dx, dy, angle in ((-34, -4, -6), (22, 4, 5)):
        with canvas.moved(f"translate({dx} {dy if top < -40 else dy - 22}) rotate({angle})"):
            canvas.cloth(
                f"M-20 {top} L22 {top} Q20 10 24 34 Q36 48 58 58 Q70 66 64 80 Q58 92 34 88 L-8 76 "
                f"Q-24 68 -22 44 Q-19 0 -20 {top} Z"
            )
            canvas.solid("M-22 44 Q-8 46 0 62 Q2 74 -8 76 Q-24 68 -22 44 Z", second, shade="tube")
            canvas.solid("M44 51 Q36 68 40 88.5 Q58 92 64 80 Q70 66 58 58 Z", second, shade="ball")
            canvas.cloth(f"M-22 {top - 4} L24 {top - 4} L23 {top + 12} L-21 {top + 12} Z", second, patterned=False)
            for i in range(9):
                canvas.line(f"M{-18 + i * 5} {top - 2} L{-18 + i * 5} {top + 11}", "#000000", 1, opacity=0.2)
            canvas.crease("M-16 34 Q4 36 20 28", 6)
            canvas.crease("M-2 62 Q20 58 30 46", 5)
            canvas.crease(f"M-4 {top + 18} Q-8 {(top + 30) / 2:.0f} -4 26", 7, 0.8)
