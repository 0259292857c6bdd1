"""T-shirt, shirt, sweater, hoodie."""

from __future__ import annotations

from collections.abc import Mapping

from clipsearch_demo.catalogue.svg import Canvas, dark, flip, light, mirrored

_SHORT_SLEEVE = "M46 -74 Q62 -70 72 -56 L94 -22 Q82 -8 66 -4 L44 -36 Z"
_LONG_SLEEVE = "M46 -74 Q66 -70 72 -48 L94 58 Q84 68 70 68 L44 -30 Z"
_TORSO = "Q62 -6 46 10 L48 82 Q22 88 0 88"


def sleeves(canvas: Canvas, long: bool, cuff: str | None = None) -> None:
    """Both sleeves, drawn before the body so that it covers their upper ends."""
    outline = _LONG_SLEEVE if long else _SHORT_SLEEVE
    hem = "M93 52 Q82 62 69 62 L70 71 Q84 71 95 61 Z" if long else "M91 -27 Q79 -13 63 -9 L66 -3 Q83 -7 95 -21 Z"
    for side in (outline, flip(outline)):
        turn = (-16.0 if long else -34.0) * (1 if side == outline else -1)
        canvas.cloth(side, turn=turn)
    for mirror in (False, True):
        edge = flip(hem) if mirror else hem
        if cuff:
            canvas.cloth(edge, cuff, patterned=False, shade="fall")
        else:
            canvas.seam(edge, 0.3)
        for fold in (
            ("M62 -44 Q68 -24 62 -10", "M74 0 Q78 16 74 34", "M62 -6 Q74 2 84 4")
            if long
            else ("M60 -50 Q72 -34 74 -22",)
        ):
            canvas.crease(flip(fold) if mirror else fold, 6)


def torso_folds(canvas: Canvas) -> None:
    """Folds from the armpits and across the waist, and the seam of each sleeve."""
    for fold in ("M44 -34 Q32 -22 26 -2", "M-44 -34 Q-32 -22 -26 -2", "M30 34 Q20 56 24 80", "M-34 30 Q-24 52 -28 78"):
        canvas.crease(fold, canvas.rng.uniform(6, 11))
    canvas.crease(f"M-6 {canvas.rng.uniform(0, 24):.0f} Q2 40 -4 74", 8, 0.8)
    canvas.seam("M46 -74 Q40 -52 44 -30", 0.35)
    canvas.seam("M-46 -74 Q-40 -52 -44 -30", 0.35)


def _hem(canvas: Canvas) -> None:
    canvas.stitch("M-46 80 Q0 86 46 80", dark(canvas.inks.main, 0.3))


def t_shirt(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A t-shirt laid flat; the collar's rib and the sleeve hems are in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    dip = -44 if attributes["neck"] == "v-neck" else -62
    neck = f"M0 {dip} L24 -80" if attributes["neck"] == "v-neck" else f"M0 {dip} Q18 {dip} 24 -80"
    canvas.solid("M-24 -80 Q0 -74 24 -80 L12 -44 L-12 -44 Z", dark(main, 0.5))
    canvas.line("M-24 -80 Q0 -74 24 -80", dark(second, 0.25), 4)
    sleeves(canvas, attributes["sleeves"] == "long", second)
    canvas.cloth(mirrored(f"{neck} L46 -74 Q42 -50 46 -28 L46 10 L48 82 Q22 88 0 88"))
    torso_folds(canvas)
    for half in (neck, flip(neck)):
        canvas.line(half, dark(second, 0.3), 6.4)
        canvas.line(half, second, 5)
    _hem(canvas)


def shirt(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A button-up shirt with collar and placket; buttons in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    canvas.solid("M-24 -82 Q0 -90 24 -82 L10 -52 L-10 -52 Z", dark(main, 0.45))
    sleeves(canvas, attributes["sleeves"] == "long")
    canvas.cloth(mirrored("M0 -56 L22 -80 L46 -74 Q42 -50 46 -28 L45 10 L50 72 Q46 88 24 84 Q10 92 0 92"))
    torso_folds(canvas)
    canvas.cloth("M-5 -58 L5 -58 L5 91 L-5 91 Z", shade="pipe")
    canvas.stitch("M-3.4 -54 L-3.4 90")
    canvas.stitch("M3.4 -54 L3.4 90")
    for y in range(-44, 84, 21):
        canvas.button(0, y, second, 3.2)
    collar = "M0 -56 L-20 -86 Q-30 -82 -34 -70 L-18 -44 Z"
    for side in (collar, flip(collar)):
        canvas.cloth(side, turn=20, shade="fall")
        canvas.stitch(side, dark(main, 0.25))
    if attributes["pocket"] == "with":
        canvas.cloth("M14 -28 L38 -28 L38 -4 L26 4 L14 -4 Z", light(main, 0.08), turn=90, shade="fall")
        canvas.line("M14 -27 L38 -27", second, 4)
        canvas.stitch("M16 -22 L16 -5 L26 1.5 L36 -5 L36 -22")


def _ribbing(canvas: Canvas, d: str, colour: str, *, half: float, y: tuple[float, float]) -> None:
    """A knitted band: the shape, then narrow ribs across it."""
    canvas.cloth(d, colour, patterned=False)
    count = max(3, round(2 * half / 4.5))
    for i in range(1, count):
        x = -half + 2 * half * i / count
        canvas.line(f"M{x:.1f} {y[0]} L{x:.1f} {y[1]}", "#000000", 1.1, opacity=0.22)


def sweater(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A knitted sweater; ribbed collar, cuffs and hem in the second colour, fine rows of knit."""
    main, second = canvas.inks.main, canvas.inks.second
    neck = attributes["neck"]
    half = {"v-neck": "M0 -38 L24 -80", "round": "M0 -64 Q18 -64 24 -80", "turtleneck": "M0 -76 Q14 -76 22 -80"}[neck]
    if neck != "turtleneck":
        canvas.solid("M-24 -80 Q0 -74 24 -80 L12 -40 L-12 -40 Z", dark(main, 0.5))
    sleeves(canvas, True, second)
    canvas.cloth(mirrored(f"{half} L46 -74 Q44 -50 47 -28 L50 70 Q22 78 0 78"))
    for y in range(-56, 72, 7):
        canvas.line(f"M-42 {y} Q0 {y + 6} 42 {y}", "#000000", 0.9, opacity=0.13)
    torso_folds(canvas)
    _ribbing(canvas, mirrored("M0 77 Q24 77 50 69 L47 87 Q22 92 0 92"), second, half=46, y=(78, 90))
    if neck == "turtleneck":
        _ribbing(canvas, mirrored("M0 -98 Q16 -99 23 -95 L25 -76 Q14 -68 0 -68"), second, half=22, y=(-96, -71))
        canvas.crease("M-22 -84 Q0 -78 22 -84", 5)
        return
    for rim in (half, flip(half)):
        canvas.line(rim, dark(second, 0.35), 8.4)
        canvas.line(rim, second, 6.8)
        canvas.line(rim, dark(second, 0.35), 6.8, opacity=0.35, dash="1 2.4")


def hoodie(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A hoodie: hood behind the neck, drawstrings and lining in the second colour, pouch pocket or zip."""
    main, second = canvas.inks.main, canvas.inks.second
    sleeves(canvas, True, dark(main, 0.16))
    canvas.cloth(mirrored("M0 -56 L22 -76 L46 -74 Q44 -50 47 -28 L50 70 Q22 78 0 78"))
    torso_folds(canvas)
    canvas.cloth(mirrored("M0 77 Q24 77 50 69 L46 87 Q22 92 0 92"), dark(main, 0.16), patterned=False)
    canvas.cloth(mirrored("M0 -99 Q30 -99 40 -74 Q38 -54 12 -44 L0 -38"), turn=12, shade="ball")
    canvas.solid(mirrored("M0 -90 Q20 -90 26 -72 Q22 -56 0 -46"), dark(second, 0.2), shade="fall")
    canvas.crease("M-20 -80 Q0 -88 20 -80", 6)
    if attributes["closure"] == "zip":
        canvas.line("M0 -46 L0 90", dark(main, 0.6), 5)
        canvas.line("M0 -46 L0 90", "#c9ccd0", 2.4, dash="1.6 1.2")
        canvas.solid("M-2.4 -40 L2.4 -40 L1.6 -28 L-1.6 -28 Z", "#dfe2e6", shade="gloss")
        for pocket in ("M18 36 L38 66", "M-18 36 L-38 66"):
            canvas.line(pocket, dark(main, 0.55), 2.4)
    else:
        canvas.cloth(mirrored("M0 28 L20 28 L38 56 L38 70 L0 74"), dark(main, 0.1), turn=0, shade="fall")
        canvas.stitch("M20 31 L35 56 M-20 31 L-35 56")
    for side in (1, -1):
        canvas.cord(f"M{side * 12} -50 Q{side * 17} -30 {side * 13} -6", second, 2.6)
        canvas.disc(side * 13, -4, 2.4, "#d8dadd")
