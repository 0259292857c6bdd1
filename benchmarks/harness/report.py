"""What a run says: lines with targets, as a table for people, JSON for machines, and Markdown for the documentation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from .figures import Summary


def markers(name: str) -> tuple[str, str]:
    """Return the comments between which a benchmark's table stands in a document."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, judged by its median. ``target`` None: for information."""

    section: str
    name: str
    unit: str
    value: Summary
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @property
    def verdict(self) -> Literal["PASS", "short", ""]:
        """Whether the median reaches the target; empty where there is none."""
        if self.target is None:
            return ""
        reached = self.value.median >= self.target if self.better == "higher" else self.value.median <= self.target
        return "PASS" if reached else "short"

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Return section, name, median, spread, target and verdict as text."""
        sign = "≥" if self.better == "higher" else "≤"
        value, unit = self.value, f" {self.unit}" if self.unit else ""
        return (
            self.section,
            self.name,
            f"{number(value.median)}{unit}",
            f"{number(value.low)} … {number(value.high)}",
            "" if self.target is None else f"{sign} {self.target:g}{unit}",
            self.verdict,
        )


@dataclass(slots=True)
class Outcome:
    """What one section found: its lines, and every sample and choice behind them."""

    lines: list[Line] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)


HEADINGS = ("section", "figure", "median", "min … max", "target", "")


def number(value: float) -> str:
    """Write a number with three or more digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def table(lines: Sequence[Line], title: str) -> Table:
    """Return the lines as a table for the terminal."""
    result = Table(title=title)
    for heading, right in zip(HEADINGS, (False, False, True, True, True, False), strict=True):
        result.add_column(heading, justify="right" if right else "left")
    for line in lines:
        style = {"PASS": "green", "short": "bold red", "": None}[line.verdict]
        result.add_row(*line.cells(), style=style)
    return result


def markdown(lines: Sequence[Line], environment: dict[str, Any]) -> str:
    """Return the lines as a Markdown table under one sentence about where they come from."""
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    sha = str(environment["git_sha"])[:10] + (" with local changes" if environment["git_dirty"] else "")
    source = (
        f"{environment['cores']} cores of {environment['cpu']}, Python {environment['python']}, {packages}; "
        f"commit {sha}, {environment['measured_at']}."
    )
    rows = [HEADINGS, ("---", "---", "---:", "---:", "---:", "---"), *(line.cells() for line in lines)]
    return "\n".join([source, "", *("| " + " | ".join(cells) + " |" for cells in rows)])


def rewrite(document: Path, name: str, text: str) -> None:
    """Replace what stands between a benchmark's markers in a document; raises ValueError where they are not there."""
    content = document.read_text(encoding="utf-8")
    begin, end = markers(name)
    if content.count(begin) != 1 or content.count(end) != 1:
        raise ValueError(f"{document} must hold {begin} and {end} once each")
    before, rest = content.split(begin)
    after = rest.split(end)[1]
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the lines as plain values."""
    return [{**asdict(line), "verdict": line.verdict} for line in lines]
