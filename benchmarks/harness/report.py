"""What a run says: lines with targets, as a table for people, JSON for machines, and Markdown for the documentation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from .figures import Summary


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, judged by its median. ``target`` None: for information."""

    section: str
    name: str
    unit: str
    value: Summary
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Line":
        """Return the line that ``as_json`` wrote."""
        line = {name: value for name, value in values.items() if name != "verdict"}
        return cls(**{**line, "value": Summary(**values["value"])})

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
            f"{number(value.low)} … {number(value.high)}" if value.count > 1 else "",
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


def markdown_rows(lines: Iterable[Line]) -> list[str]:
    """Return the lines as the rows of a Markdown table, its heading first."""
    rows = [HEADINGS, ("---", "---", "---:", "---:", "---:", "---"), *(line.cells() for line in lines)]
    return ["| " + " | ".join(cells) + " |" for cells in rows]


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the lines as plain values."""
    return [{**asdict(line), "verdict": line.verdict} for line in lines]


def publish(
    lines: Sequence[Line], title: str, environment: Mapping[str, Any], settings: Mapping[str, Any], out: Path
) -> None:
    """Write a run's figures, where and how they were measured to ``out``, and show them as a table."""
    document = {"environment": environment, "settings": settings, "lines": as_json(lines)}
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    screen = Console()
    # Not a terminal: wide enough that no figure is broken over lines.
    screen.print(table(lines, title), width=None if screen.is_terminal else 140)
