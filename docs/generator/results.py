"""The committed results of the benchmarks, and the tables that show one line per figure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness.report import Line, markdown_rows

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def result(name: str) -> Any:
    """Return the content of a committed result; raises FileNotFoundError where there is none."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def measured_on(environment: dict[str, Any]) -> str:
    """One paragraph: on what, with which packages, of which commit and when."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    changed = " with local changes" if environment["git_dirty"] else ""
    busy = ", other work beside it" if environment["busy"] else ""
    return (
        f"{environment['cores']} cores of {environment['cpu']}, Python {environment['python']}, {versions}; "
        f"commit {environment['git_sha'][:10]}{changed}, {environment['measured_at'][:10]}{busy}.\n\n"
    )


def lines_table(name: str, wanted: Callable[[Line], bool] = lambda line: True) -> str:
    """Every wanted line of a result, under one sentence about where they come from."""
    content = result(name)
    sections = list(content["sections"].values()) if "sections" in content else [content]
    lines = [Line.of(one) for section in sections for one in section["lines"]]
    return measured_on(sections[0]["environment"]) + "\n".join(markdown_rows(filter(wanted, lines))) + "\n"
