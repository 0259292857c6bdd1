"""Hat, cap, beanie."""

from __future__ import annotations

from collections.abc import Mapping

from clipsearch_demo.catalogue.svg import Canvas, dark, light, mirrored


def hat(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A brimmed hat; the ribbon is in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    wide = 98 if attributes["brim"] == "wide" else 72
    drop = 62 if attributes["brim"] == "wide" else 52
    brim = mirrored(
        f"M0 8 Q{wide * 0.7:.0f} 8 {wide} 26 Q{wide - 4} {drop - 8} {wide * 0.6:.0f} {drop} Q30 {drop + 6} 0 {drop + 6}"
    )
    canvas.cloth(brim, shade="fall")
    canvas.line(
        f"M{-wide + 3} 29 Q{-wide * 0.7:.0f} {drop} 0 {drop + 3} Q{wide * 0.7:.0f} {drop} {wide - 3} 29",
        dark(main, 0.35),
        2,
        opacity=0.6,
    )
    canvas.solid("M-62 26 Q0 58 62 26 Q58 46 0 48 Q-58 46 -62 26 Z", "#000000", opacity=0.28)
    canvas.cloth(mirrored("M0 -52 Q16 -66 34 -60 Q52 -48 55 26 Q34 40 0 40"))
    canvas.crease("M-4 -50 Q-8 -34 2 -20", 9)
    canvas.crease("M30 -44 Q24 -30 28 -10", 8)
    canvas.crease("M-34 -40 Q-28 -26 -32 -8", 8)
    canvas.cloth(mirrored("M0 18 Q34 18 54 4 L55.5 27 Q34 41 0 41"), second, patterned=False)
    canvas.cloth("M40 6 L62 0 L60 24 L44 32 Z", dark(second, 0.12), patterned=False, shade="fall")
    canvas.solid("M44 8 L50 6 L50 30 L45 32 Z", light(second, 0.15), shade="fall")


def cap(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A baseball cap seen from the side; peak, button and badge in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    with canvas.moved("translate(-8 6) scale(1.08)"):
        canvas.solid("M-66 30 Q-30 44 20 34 L20 42 Q-30 52 -66 38 Z", dark(main, 0.6))
        canvas.cloth("M-68 32 Q-74 -50 -4 -52 Q52 -50 56 26 Q-10 14 -68 32 Z", turn=0, shade="ball")
        canvas.seam("M-4 -52 Q14 -20 16 19")
        canvas.seam("M-4 -52 Q-40 -30 -44 25")
        canvas.stitch("M-2 -50 Q18 -20 19 19 M-7 -51 Q-43 -30 -47 25", light(main, 0.4))
        canvas.crease("M40 -20 Q34 0 38 18", 8)
        canvas.crease("M-58 -10 Q-52 6 -58 24", 7)
        canvas.cloth(
            "M10 20 Q44 12 58 24 Q92 36 104 50 Q98 58 80 52 Q44 36 2 40 Q-2 28 10 20 Z",
            second,
            patterned=False,
            shade="fall",
        )
        for i in range(3):
            canvas.stitch(f"M{14 + i * 3} {26 + i * 4} Q54 {22 + i * 5} {92 - i * 4} {46 + i * 2}", light(second, 0.45))
        canvas.disc(-4, -53, 4.4, second)
        if attributes["badge"] == "with":
            canvas.disc(34, -12, 13, light(second, 0.12))
            canvas.disc(34, -12, 9, dark(second, 0.1), shade="fall")
            canvas.solid(
                "M34 -19 L36 -14 L41 -14 L37 -11 L38.5 -6 L34 -9 L29.5 -6 L31 -11 L27 -14 L32 -14 Z", "#fff7e0"
            )


def beanie(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A knitted beanie; the folded brim and the pompom in the second colour."""
    second = canvas.inks.second
    with canvas.moved("translate(0 12)"):
        canvas.cloth(mirrored("M0 -72 Q58 -70 64 40 L0 44"))
        for x in range(-48, 49, 8):
            canvas.line(f"M{x * 0.16:.1f} -66 Q{x * 1.06:.1f} -40 {x * 1.2:.1f} 34", "#000000", 1.2, opacity=0.16)
        canvas.crease("M-30 -30 Q-40 0 -42 28", 9)
        canvas.crease("M24 -40 Q34 -10 36 24", 9)
        canvas.cloth(mirrored("M0 26 Q40 26 66 20 Q72 44 67 62 Q40 70 0 70"), second, patterned=False)
        for i in range(-12, 13):
            canvas.line(
                f"M{i * 5.2:.1f} {27 - abs(i) * 0.4:.1f} L{i * 5.3:.1f} {68 - abs(i) * 0.6:.1f}",
                "#000000",
                1.6,
                opacity=0.24,
            )
            canvas.line(
                f"M{i * 5.2 + 1.8:.1f} {27 - abs(i) * 0.4:.1f} L{i * 5.3 + 1.8:.1f} {68 - abs(i) * 0.6:.1f}",
                "#ffffff",
                1.2,
                opacity=0.16,
            )
        if attributes["pompom"] == "with":
            _pompom(canvas, 0, -84, 21, second)


def _pompom(canvas: Canvas, x: float, y: float, radius: float, colour: str) -> None:
    canvas.solid(
        f"M{x - radius} {y} Q{x - radius} {y - radius} {x} {y - radius} Q{x + radius} {y - radius} {x + radius} {y} "
        f"Q{x + radius} {y + radius} {x} {y + radius} Q{x - radius} {y + radius} {x - radius} {y} Z",
        colour,
        shade="ball",
    )
    rng = canvas.rng
    for _ in range(60):
        dx, dy = rng.gauss(0, 0.45) * radius, rng.gauss(0, 0.45) * radius
        tone = dark(colour, 0.25) if rng.random() < 0.5 else light(colour, 0.25)
        canvas.line(f"M{x + dx:.1f} {y + dy:.1f} L{x + dx * 1.55:.1f} {y + dy * 1.55:.1f}", tone, 1.5, opacity=0.7)
