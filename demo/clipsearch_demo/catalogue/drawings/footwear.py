"""Sneakers, boots, heels: each a pair, the second shoe standing a little behind the first."""

from __future__ import annotations

from collections.abc import Mapping

from clipsearch_demo.catalogue.svg import Canvas, dark, light


def _sneaker(canvas: Canvas, high: bool) -> None:
    main, second = canvas.inks.main, canvas.inks.second
    top = -30 if high else 8
    canvas.solid(f"M-72 {top} Q-46 {top + 10} -20 {top - 2} L-24 {top + 24} L-70 {top + 20} Z", dark(main, 0.6))
    tongue = f"M-30 {top + 6} L-14 {top - 12} Q-6 {top - 12} -4 {top - 4} L20 40 L4 50 Z"
    canvas.cloth(tongue, light(main, 0.1), patterned=False, shade="fall")
    upper = (
        f"M-78 76 Q-84 44 -76 {top} Q-60 {top + 14} -36 {top + 8} Q-30 {top + 8} -24 {top} Q-8 "
        f"{top + 30 if high else 36} 18 42 "
        "Q58 48 82 60 Q94 66 92 78 L-78 78 Z"
    )
    canvas.cloth(upper, turn=-12, shade="fall")
    canvas.solid("M50 48 Q82 54 90 66 Q94 72 92 79 L58 79 Q46 64 50 48 Z", light(second, 0.12), shade="ball")
    canvas.solid(f"M-77 78 Q-82 50 -77 {top + 18} Q-62 {top + 30} -58 78 Z", second, shade="fall")
    canvas.line("M-40 76 Q-22 66 -6 40", dark(second, 0.2), 8)
    canvas.line("M-40 76 Q-22 66 -6 40", second, 6.4)
    canvas.line("M-20 77 Q0 66 10 44", second, 4.5)
    canvas.stitch("M44 46 Q40 64 52 78", dark(main, 0.4))
    canvas.stitch(f"M-74 {top + 6} Q-58 {top + 19} -34 {top + 13}", dark(main, 0.4))
    canvas.crease("M26 50 Q34 58 34 72", 6)
    rows = 6 if high else 4
    for i in range(rows):
        share = i / (rows - 1)
        x, y = -24 + 42 * share, top + 6 + (38 - top - 2) * share
        canvas.line(f"M{x - 8:.1f} {y + 6:.1f} Q{x:.1f} {y - 3:.1f} {x + 9:.1f} {y - 3:.1f}", "#00000066", 4.2)
        canvas.line(f"M{x - 8:.1f} {y + 5:.1f} Q{x:.1f} {y - 4:.1f} {x + 9:.1f} {y - 4:.1f}", "#fbfbf8", 3)
    sole = "M-82 76 L93 76 Q97 84 90 92 L-74 92 Q-86 88 -82 76 Z"
    canvas.solid(sole, "#f3f1ec", shade="pipe")
    canvas.line("M-81 84 L93 84", second, 1.8)
    for x in range(-70, 90, 7):
        canvas.line(f"M{x} 88 L{x} 92", "#9a9890", 1.4)


def sneakers(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """Low or high-top sneakers; heel, stripes and toe cap in the second colour."""
    high = attributes["height"] == "high"
    with canvas.moved(
        "translate(10 -10) scale(.86) translate(-6 -4)" if high else "translate(12 -15) scale(.9) translate(-8 0)"
    ):
        _sneaker(canvas, high)
    with canvas.moved("translate(-4 4.6) scale(.95)"):
        _sneaker(canvas, high)


def _boot(canvas: Canvas, knee: bool, high_heel: bool) -> None:
    main, second = canvas.inks.main, canvas.inks.second
    top = -92 if knee else -28
    lift = 16 if high_heel else 4
    heel_y = 88 - lift
    canvas.solid(f"M-46 {top} Q-18 {top + 9} 10 {top} L8 {top + 14} L-44 {top + 14} Z", dark(main, 0.6))
    shaft = (
        f"M-46 {top} Q-18 {top + 10} 10 {top} Q{14 if knee else 10} 0 14 28 Q20 44 52 54 Q76 62 80 76 L78 87 "
        f"L24 87 Q-4 {heel_y + 2} -44 {heel_y} Q-52 50 -45 20 Q{-52 if knee else -46} -30 -46 {top} Z"
    )
    canvas.cloth(shaft, turn=4)
    canvas.solid("M46 52 Q76 60 80 76 L79 86 L50 87 Q38 68 46 52 Z", dark(main, 0.18), shade="ball", opacity=0.75)
    for fold in ("M-40 30 Q-16 38 10 26", "M-42 44 Q-14 54 18 40"):
        canvas.crease(fold, 7)
    if knee:
        canvas.crease("M-20 -70 Q-12 -20 -18 20", 9)
    canvas.line(f"M-6 {top + 12} L-4 30", dark(main, 0.6), 2.6)
    canvas.line(f"M-6 {top + 12} L-4 30", "#c9b06a", 1.2, dash="1.6 1.4")
    canvas.cloth(
        f"M-48 {top - 2} Q-18 {top + 9} 12 {top - 2} L11 {top + 15} Q-18 {top + 25} -48 {top + 15} Z",
        second,
        patterned=False,
    )
    canvas.cloth("M-46 8 Q-16 18 14 6 L16 17 Q-16 29 -47 19 Z", second, patterned=False)
    canvas.line("M2 10 L13 6 L15 17 L4 21 Z", "#dcbf72", 2.4)
    sole = (
        f"M-46 {heel_y - 1} Q-4 {heel_y + 1} 24 85 L80 84 Q84 88 79 92 L22 92 Q-4 {heel_y + 8} -20 "
        f"{heel_y + 6} L-46 {heel_y + 6} Z"
    )
    heel = f"M-47 {heel_y + 4} L-18 {heel_y + 5} L{-24 if high_heel else -16} 92 L-44 92 Z"
    canvas.solid(heel, "#3a2a20", shade="tube")
    canvas.solid(sole, "#2c211b", shade="pipe")


def boots(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """Ankle or knee-high boots, flat or with a heel; cuff and buckled strap in the second colour."""
    knee, heel = attributes["height"] == "knee", attributes["heel"] == "high"
    shrink = 0.93 if knee else 1.0
    with canvas.moved(f"translate(18 {-6 if knee else -10}) scale({shrink * 0.93:.3f}) translate(0 0)"):
        _boot(canvas, knee, heel)
    with canvas.moved(f"translate(-20 {92 - 92 * shrink:.1f}) scale({shrink})"):
        _boot(canvas, knee, heel)


def _heel(canvas: Canvas, block: bool, strap: bool) -> None:
    main, second = canvas.inks.main, canvas.inks.second
    canvas.solid("M-76 -2 Q-40 30 10 62 Q50 74 84 80 L60 88 L10 72 Q-50 30 -76 12 Z", light(second, 0.3), shade="fall")
    if block:
        canvas.solid("M-78 20 L-44 36 L-46 92 L-76 92 Z", second, shade="tube")
    else:
        canvas.solid("M-78 18 L-52 32 Q-66 50 -66 92 L-72 92 Q-70 50 -78 18 Z", second, shade="tube")
    upper = (
        "M-79 24 Q-84 -4 -74 -22 Q-64 -26 -60 -12 Q-56 12 -30 34 Q0 56 26 52 Q40 48 52 58 Q78 70 90 82 Q93 90 84 90 "
        "L48 90 Q14 84 -16 58 Q-46 34 -79 24 Z"
    )
    canvas.cloth(upper, turn=24, shade="fall")
    canvas.solid("M-30 34 Q0 56 26 52 Q34 50 40 52 Q10 66 -24 42 Z", dark(main, 0.5), opacity=0.55)
    canvas.line("M-78 24 Q-46 36 -16 60 Q14 86 48 91 L86 91", dark(second, 0.2), 3)
    canvas.line("M50 66 Q70 72 84 84", "#ffffff", 3, opacity=0.35)
    canvas.crease("M-66 -8 Q-66 10 -58 22", 5)
    if strap:
        canvas.cord("M-76 -16 Q-62 -46 -40 -42 Q-22 -36 -30 -20 Q-44 -8 -72 -8", second, 4.6)
        canvas.disc(-26, -30, 3.6, "#dcbf72", shade="gloss")


def heels(canvas: Canvas, attributes: Mapping[str, str]) -> None:
    """High heels, stiletto or block, with or without an ankle strap; heel and strap in the second colour."""
    block, strap = attributes["heel"] == "block", attributes["strap"] == "with"
    with canvas.moved("translate(14 -16) scale(.92) translate(0 0)"):
        _heel(canvas, block, strap)
    with canvas.moved("translate(-6 0)"):
        _heel(canvas, block, strap)
