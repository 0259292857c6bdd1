"""Goodput and latency over the offered load, drawn."""

from pathlib import Path
from statistics import median

from matplotlib.figure import Figure


def plot(document: dict[str, object], target: Path) -> None:
    """Draw the result of a run of benchmarks/overload.py to a PNG file."""
    loads: dict[str, list[dict[str, float]]] = document["loads"]  # type: ignore[assignment]
    capacity, deadline_ms = float(document["capacity"]), float(document["deadline_ms"])  # type: ignore[arg-type]
    multiples = [float(multiple) for multiple in loads]

    def medians(figure: str) -> list[float]:
        return [median(one[figure] for one in rounds) for rounds in loads.values()]

    figure = Figure(figsize=(10, 4))
    left, right = figure.subplots(1, 2)
    left.plot(multiples, medians("goodput"), marker="o", label="answered in time")
    left.axhline(capacity, color="grey", linestyle="--", label="capacity")
    left.set_ylabel("calls per second")
    left.set_ylim(bottom=0)
    right.plot(multiples, medians("p99_ms"), marker="o", label="p99 of accepted")
    right.plot(multiples, medians("p50_ms"), marker="o", label="p50 of accepted")
    right.axhline(deadline_ms, color="grey", linestyle="--", label="deadline")
    right.set_ylabel("ms from the intended start")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(multiples, [f"{multiple:g}x" for multiple in multiples])
        axes.set_xlabel("offered load, in capacities")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
