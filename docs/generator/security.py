"""docs/security.md: what decoding in processes, keys and TLS cost, from the committed benchmark."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def costs_table() -> str:
    """Each way beside going without, in turns of one run: medians, and the least and most of the turns."""
    result = json.loads((ROOT / "benchmarks/results/security.json").read_text(encoding="utf-8"))
    rows = ["| what | of | median | min … max |", "| --- | --- | ---: | ---: |"]
    for line in result["lines"]:
        value, name = line["value"], line["name"]
        if name.startswith("processes / threads") or name == "open: CPU per call":
            rows.append(f"| {name} | {line['section']} | {_cells(value, line['unit'])} |")
        elif name.endswith("CPU added"):
            rows.append(f"| {name} to a call | {line['section']} | {_cells(value, line['unit'])} |")
    environment = result["environment"]
    turns = result["settings"]["rounds"]
    busy = ", other work beside it" if environment["busy"] else ""
    return (
        f"{environment['cores']} cores of {environment['cpu']}, commit {environment['git_sha'][:10]}, "
        f"{environment['measured_at'][:10]}{busy}; {turns} turns each.\n\n" + "\n".join(rows) + "\n"
    )


def _cells(value: dict[str, Any], unit: str) -> str:
    digits = 2 if unit == "x" else 0
    return f"{value['median']:.{digits}f} {unit} | {value['low']:.{digits}f} … {value['high']:.{digits}f}"
