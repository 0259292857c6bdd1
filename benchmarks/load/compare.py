"""`make bench-compare A=… B=…`: what changed between two runs beyond their noise.

    python -m benchmarks.load.compare A/load.json B/load.json

Each step was measured second by second. Of both runs' seconds, medians are drawn again and again (a bootstrap), and
a figure has changed where 99 in 100 of the differences have the same sign and the medians differ by 3 % or more. Two
runs on a machine that others use may still differ by what the others did: compare runs that took turns.
"""

import argparse
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

FIGURES: Final = {"answered": "answered/s", "p50_ms": "p50, ms", "p99_ms": "p99, ms"}
DRAWS: Final = 2000
CONFIDENT: Final = 0.99
WORTH: Final = 0.03
"""Smaller changes are not told, however certain."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of a step in both runs."""

    step: str
    figure: str
    before: float
    after: float
    beyond_noise: bool


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """Compare two runs' documents, at the steps that both have; raises ValueError where there is none."""
    steps_a, steps_b = ({step["multiple"]: step for step in run["steps"]} for run in (a, b))
    both = [multiple for multiple in steps_a if multiple in steps_b]
    if not both:
        raise ValueError("the runs have no step in common")
    return [
        _change(f"{multiple:g} x", figure, steps_a[multiple]["series"], steps_b[multiple]["series"])
        for multiple in both
        for figure in FIGURES
    ]


def _change(
    step: str, figure: str, before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]
) -> Change:
    old, new = [window[figure] for window in before], [window[figure] for window in after]
    was, now = statistics.median(old), statistics.median(new)
    large = abs(now - was) >= WORTH * max(abs(was), 1e-9)
    return Change(step, figure, was, now, large and differs(old, new))


def differs(old: Sequence[float], new: Sequence[float], seed: int = 0) -> bool:
    """Return whether the medians of two samples differ beyond the samples' own noise."""
    chance = random.Random(seed)
    higher = lower = 0
    for _ in range(DRAWS):
        was = statistics.median(chance.choices(old, k=len(old)))
        now = statistics.median(chance.choices(new, k=len(new)))
        higher, lower = higher + (now > was), lower + (now < was)
    return max(higher, lower) >= CONFIDENT * DRAWS


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description="Tell what changed between two runs of the load suite.")
    parser.add_argument("a", type=Path, help="load.json of the first run")
    parser.add_argument("b", type=Path, help="load.json of the second")
    arguments = parser.parse_args()
    a, b = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.a, arguments.b))
    table = Table("load", "figure", "before", "after", "change", "")
    for one in changes(a, b):
        change = f"{100 * (one.after / one.before - 1):+.1f} %" if one.before else ""
        verdict = "changed" if one.beyond_noise else "within noise"
        table.add_row(one.step, FIGURES[one.figure], f"{one.before:,.1f}", f"{one.after:,.1f}", change, verdict)
    for name, run in (("before", a), ("after", b)):
        rate = run["within_objective"]
        told = "no step" if rate is None else f"{rate:,.1f}/s"
        table.caption = f"{table.caption or ''}{name}: {told} with p99 within {run['objective_ms']:g} ms. "
    Console().print(table)


if __name__ == "__main__":
    main()
