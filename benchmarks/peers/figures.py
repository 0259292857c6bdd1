"""From rounds to medians, tables and the plot."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import summarise
from benchmarks.harness.report import number

MIB = 2**20
SLO_MS: Mapping[str, float] = {"text": 100.0, "image": 300.0}
MOST_ERRORS = 0.001
"""Share of calls that may fail at the rate that counts for the objective."""

FRACTIONS = (0.5, 0.8, 0.9)
"""Of a peer's own saturated rate in the same round: the rates of the open loop."""

QUIET_CORES = 0.2
"""Of other work beside a turn: what is more than that disturbs it."""

_TITLES = {"text": "texts", "image": "pictures"}


def summarise_all(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return for every peer and tower the median, smallest and largest of each figure over its rounds.

    A figure that a round does not have (a rate at the objective where none kept it) is left out of its median, and how
    many there were is the median's count.
    """
    return {
        name: {
            "peak_mib": asdict(summarise([turn["peak_bytes"] / MIB for turn in turns])),
            "towers": {tower: _tower([turn["towers"][tower] for turn in turns], tower) for tower in turns[0]["towers"]},
        }
        for name, turns in rounds.items()
        if turns
    }


def _tower(turns: Sequence[Mapping[str, Any]], tower: str) -> dict[str, Any]:
    samples: dict[str, list[float]] = {
        "per_second": [turn["per_second"] for turn in turns],
        "cpu_s_per_1000": [turn["cpu_s_per_1000"] for turn in turns],
        "at_objective": [
            rate for turn in turns if (rate := rate_at_objective(turn["loads"], SLO_MS[tower])) is not None
        ],
    }
    for place, fraction in enumerate(FRACTIONS):
        for figure in ("p50_ms", "p99_ms"):
            values = [turn["loads"][place][figure] for turn in turns if turn["loads"]]
            samples[f"{figure}_at_{fraction:g}"] = [value for value in values if value is not None]
    errors = sum(sum(load["errors"].values()) for turn in turns for load in turn["loads"])
    figures: dict[str, Any] = {name: asdict(summarise(values)) for name, values in samples.items() if values}
    disturbed = sum(turn["other_cores"] > QUIET_CORES for turn in turns)
    return figures | {
        "errors": errors,
        "disturbed": disturbed,
        "smallest_cosine": min(turn["smallest_cosine"] for turn in turns),
    }


def rate_at_objective(loads: Sequence[Mapping[str, Any]], slo_ms: float) -> float | None:
    """Return the largest rate whose p99 keeps the objective with fewer than 0.1 % errors; None where none does."""
    kept = [
        load["per_second"]
        for load in loads
        if load["p99_ms"] is not None
        and load["p99_ms"] <= slo_ms
        and sum(load["errors"].values()) < MOST_ERRORS * load["sent"]
    ]
    return max(kept, default=None)


def tables(result: Mapping[str, Any]) -> str:
    """Return a Markdown table per tower, fastest first, and a list of the peers that are missing with their reasons."""
    parts = [_table(result, tower) for tower in _TITLES]
    turns = [(name, tower) for name, one in result["summary"].items() for tower in one["towers"].values()]
    if disturbed := sorted({name for name, tower in turns if tower["disturbed"]}):
        count, of = (sum(one(tower) for _, tower in turns) for one in (_disturbed, _rounds))
        parts.append(
            f"Other work took more than {QUIET_CORES} cores in {count} of {of} turns: {', '.join(disturbed)}.\n"
        )
    missing = [f"- {name}: {' '.join(why.split())[:300]}" for name, why in result["failures"].items()]
    if missing:
        parts.append("Not measured:\n\n" + "\n".join(missing) + "\n")
    return "\n".join(parts)


def _disturbed(tower: Mapping[str, Any]) -> int:
    return int(tower["disturbed"])


def _rounds(tower: Mapping[str, Any]) -> int:
    return int(tower["per_second"]["count"])


def _table(result: Mapping[str, Any], tower: str) -> str:
    peers = {name: one for name, one in result["summary"].items() if tower in one["towers"]}
    ours = peers.get("clipsearch", {}).get("towers", {}).get(tower, {}).get("per_second", {}).get("median")
    headings = [
        _TITLES[tower], "per second", "of ours", "p50 / p99 at 50 %", "p50 / p99 at 80 %",
        f"per second, p99 ≤ {SLO_MS[tower]:g} ms",
        "CPU s per 1,000", "peak memory",
    ]  # fmt: skip
    lines = [_row(headings), _row(["---", *["---:"] * (len(headings) - 1)])]
    for name, one in sorted(peers.items(), key=lambda item: -item[1]["towers"][tower]["per_second"]["median"]):
        figures = one["towers"][tower]
        lines.append(
            _row(
                [
                    name,
                    _spread(figures["per_second"]),
                    f"{figures['per_second']['median'] / ours:.2f}" if ours else "",
                    *(_latencies(figures, fraction) for fraction in (0.5, 0.8)),
                    _at_objective(figures),
                    f"{figures['cpu_s_per_1000']['median']:.2f}",
                    f"{one['peak_mib']['median']:,.0f} MiB",
                ]
            )
        )
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(figure: Mapping[str, float]) -> str:
    spread = f" ({number(figure['low'])} … {number(figure['high'])})" if figure["count"] > 1 else ""
    return number(figure["median"]) + spread


def _latencies(figures: Mapping[str, Any], fraction: float) -> str:
    p50, p99 = (figures.get(f"{name}_at_{fraction:g}") for name in ("p50_ms", "p99_ms"))
    return f"{number(p50['median'])} / {number(p99['median'])} ms" if p50 and p99 else ""


def _at_objective(figures: Mapping[str, Any]) -> str:
    if "p50_ms_at_0.5" not in figures:
        return ""
    rate = figures.get("at_objective")
    return number(rate["median"]) if rate else "none"


def plot(result: Mapping[str, Any], file: Path) -> None:
    """Draw throughput at saturation, and p99 at 80 % of each peer's own, for both towers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for row, (tower, title) in zip(axes, _TITLES.items(), strict=True):
        peers = {name: one["towers"][tower] for name, one in result["summary"].items() if tower in one["towers"]}
        names = sorted(peers, key=lambda name: peers[name]["per_second"]["median"])
        _bars(row[0], names, [peers[name]["per_second"] for name in names], f"{title} per second, saturated")
        served = [name for name in names if "p99_ms_at_0.8" in peers[name]]
        late = [peers[name]["p99_ms_at_0.8"] for name in served]
        _bars(row[1], served, late, f"{title}: p99 at 80 % of its own rate, ms")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _bars(axis: Any, names: Sequence[str], figures: Sequence[Mapping[str, float]], title: str) -> None:
    medians = [one["median"] for one in figures]
    below = [one["median"] - one["low"] for one in figures]
    above = [one["high"] - one["median"] for one in figures]
    colours = ["tab:orange" if name == "clipsearch" else "tab:blue" for name in names]
    axis.barh(names, medians, xerr=[below, above], color=colours, ecolor="black", capsize=3)
    axis.set_title(title, fontsize=10)
    axis.grid(axis="x", alpha=0.3)
