"""Mug, lamp, vase, cushion."""

from __future__ import annotations

import math
from collections.abc import Mapping

from clipsearch_demo.catalogue.svg import Canvas, dark, light, mirrored


def _ellipse(x: float, y: float, rx: float, ry: float) -> str:
    k = 0.5523
    return (
        f"M{x - rx:g} {y:g} C{x - rx:g} {y - k * ry:.2f} {x - k * rx:.2f} {y - ry:g} {x:g} {y - ry:g} "
        f"C{x + k * rx:.2f} {y - ry:g} {x + rx:g} {y - k * ry:.2f} {x + rx:g} {y:g} "
        f"C{x + rx:g} {y + k * ry:.2f} {x + k * rx:.2f} {y + ry:g} {x:g} {y + ry:g} "
        f"C{x - k * rx:.2f} {y + ry:g} {x - rx:g} {y + k * ry:.2f} {x - rx:g} {y:g} Z"
    )


def mug(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A mug, tall or wide; handle, rim and inside in the second colour."""
    second = canvas.inks.second
    tall = attributes["shape"] == "tall"
    half, top = (46, -70) if tall else (62, -26)
    with canvas.moved("translate(-12 0)"):
        low, high = (58, -44) if tall else (62, -6)
        handle = (
            f"M{half - 4} {high} Q{half + 44} {high} {half + 40} {(low + high) / 2} Q{half + 36} {low} {half - 8} {low}"
        )
        canvas.cord(handle, second, 13)
        canvas.cloth(mirrored(f"M0 {top + 14} L{half} {top} L{half - 3} 72 Q{half - 6} 92 0 92"), turn=0)
        canvas.line(f"M{-half + 14} {top + 22} L{-half + 14} 66", "#ffffff", 7, opacity=0.3)
        canvas.line(f"M{half - 10} {top + 22} L{half - 10} 62", "#ffffff", 3, opacity=0.16)
        canvas.solid(_ellipse(0, top, half, 14), second, shade="gloss")
        canvas.solid(_ellipse(0, top + 1, half - 4, 11), dark(second, 0.3), shade="pipe")
        canvas.solid(_ellipse(0, top + 4, half - 9, 7.4), "#4a2c18", shade="gloss")


def lamp(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A table lamp, lit; the shade has colour and pattern, the base is in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    if attributes["base"] == "tripod":
        for d in ("M0 2 L4 86", "M0 0 L-46 91", "M0 0 L46 91"):
            canvas.cord(d, second, 6.4)
        canvas.cord("M-22 46 L22 46", dark(second, 0.2), 3)
    else:
        canvas.solid(mirrored("M0 -4 L7 -4 L8 26 Q24 44 20 64 Q14 78 8 82 L0 82"), second, shade="tube")
        canvas.solid(mirrored("M0 78 L30 80 Q40 84 40 92 L0 92"), dark(second, 0.15), shade="tube")
        canvas.line("M-11 44 Q-16 56 -10 68", "#ffffff", 4, opacity=0.4)
    canvas.cord("M0 -20 L0 4", "#c9a653", 4)
    canvas.solid(_ellipse(0, 0, 70, 9), "#fff1c4")
    canvas.cloth(mirrored("M0 -94 L36 -94 L70 -2 Q40 8 0 8"), shade="tube")
    canvas.solid(mirrored("M0 -60 L26 -50 L50 0 Q30 6 0 6"), "#ffe9a8", opacity=0.2)
    canvas.line("M-36 -93 Q0 -88 36 -93", dark(main, 0.3), 4)
    canvas.line("M-69 -3 Q0 12 69 -3", second, 5)
    canvas.line("M52 8 L52 34", "#d7c48a", 1.2)
    canvas.disc(52, 37, 3, "#d8b45a", shade="gloss")


def _flowers(canvas: Canvas, mouth: float, colour: str) -> None:
    for x, y in ((-34, -62), (0, -80), (34, -66), (-14, -50), (20, -46)):
        canvas.cord(f"M{x * 0.12:.0f} {mouth} Q{x * 0.2:.0f} {(mouth + y) / 2:.0f} {x} {y}", "#4f8a43", 2.2)
    for x, y in ((-22, -28), (24, -24)):
        canvas.solid(
            f"M{x * 0.3:.0f} {mouth} Q{x} {y + 10} {x * 1.8:.0f} {y} Q{x * 1.1:.0f} {y - 12} {x * 0.3:.0f} {mouth} Z",
            "#5d9a4d",
            shade="fall",
        )
    for x, y in ((-34, -62), (0, -80), (34, -66), (-14, -50), (20, -46)):
        for i in range(6):
            angle = i * math.pi / 3
            canvas.solid(_ellipse(x + 7.4 * math.cos(angle), y + 7.4 * math.sin(angle), 6.4, 6.4), colour, shade="ball")
        canvas.disc(x, y, 4.6, "#f3c94f")


def vase(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A vase, round or slender, with or without flowers; glaze band and flowers in the second colour."""
    main, second = canvas.inks.main, canvas.inks.second
    with_flowers = attributes["flowers"] == "with"
    top = -16 if with_flowers else -72
    if with_flowers:
        _flowers(canvas, top + 4, second)
    height = 92 - top
    if attributes["shape"] == "round":
        half = 0.4 * height if with_flowers else 56
        body = (
            f"M0 {top + 4} L20 {top} Q16 {top + height * 0.2:.0f} {half * 0.7:.0f} "
            f"{top + height * 0.3:.0f} Q{half * 1.25:.0f} {top + height * 0.6:.0f} {half * 0.62:.0f} "
            "88 Q20 92 0 92"
        )
    else:
        half = 30
        body = (
            f"M0 {top + 4} L17 {top} Q12 {top + height * 0.25:.0f} {half} {top + height * 0.5:.0f} "
            f"Q{half + 4} {top + height * 0.8:.0f} 24 88 Q12 92 0 92"
        )
    rim = 20 if attributes["shape"] == "round" else 17
    canvas.cloth(mirrored(body))
    canvas.line(
        f"M{-half * 0.62:.0f} {top + height * 0.45:.0f} Q{-half * 0.8:.0f} "
        f"{top + height * 0.65:.0f} {-half * 0.5:.0f} {top + height * 0.84:.0f}",
        "#ffffff",
        7,
        opacity=0.34,
    )
    canvas.line(
        f"M{-rim * 0.86:.0f} {top + height * 0.13:.0f} Q0 {top + height * 0.18:.0f} "
        f"{rim * 0.86:.0f} {top + height * 0.13:.0f}",
        second,
        6,
    )
    canvas.solid(_ellipse(0, top, rim + 2, 5), second, shade="gloss")
    if not with_flowers:
        canvas.solid(_ellipse(0, top + 0.6, rim - 1, 3.2), dark(main, 0.7))


def cushion(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """A cushion, square or round; piping and button in the second colour."""
    second = canvas.inks.second
    if attributes["shape"] == "square":
        outline = "M-82 -82 Q0 -68 82 -82 Q68 0 82 82 Q0 68 -82 82 Q-68 0 -82 -82 Z"
        folds: tuple[str, ...] = (
            "M-74 -74 Q-54 -50 -44 -40",
            "M74 -74 Q54 -50 44 -40",
            "M74 74 Q54 50 44 40",
            "M-74 74 Q-54 50 -44 40",
        )
    else:
        outline = _ellipse(0, 0, 84, 82)
        folds = (
            "M-70 -30 Q-40 -16 -16 -6",
            "M60 -44 Q36 -24 14 -10",
            "M66 36 Q40 22 16 8",
            "M-56 52 Q-34 28 -12 12",
            "M6 76 Q4 40 2 16",
        )
    canvas.line(outline, dark(second, 0.35), 7.4)
    canvas.cloth(outline, shade="ball")
    canvas.line(outline, second, 5.4)
    canvas.line(outline, light(second, 0.5), 1.4, opacity=0.6)
    for fold in folds:
        canvas.crease(fold, 12)
    canvas.body.append('<circle r="20" fill="url(#dent)" opacity=".45"/>')
    canvas.disc(0, 0, 7, second)
