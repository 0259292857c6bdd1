"""The report: one HTML file that needs nothing else, drawn from what `run` measured."""

import html as escaping
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

STAGES: Final = ("preprocess", "queue", "encode", "search")
COLOURS: Final = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d9da1")

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: 13px; width: 100% }
th { text-align: right; border-bottom: 2px solid #888 }
td { text-align: right; border-bottom: 1px solid #ddd; padding: .25rem .5rem; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
.pairs td { text-align: left }
.bad { color: #b00020; font-weight: 600 } .big { font-size: 1.25rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 1rem } .note { color: #666 }
"""


def html(document: Mapping[str, Any]) -> str:
    """Return the page of a run's JSON."""
    steps, objective = document["steps"], document["within_objective"]
    rate = "no step met it" if objective is None else f"{objective:,.1f} calls a second"
    shown = _shown(steps)
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>clipsearch under load</title>',
        f"<style>{STYLE}</style><h1>clipsearch under load</h1>",
        f'<p class="big">With p99 within {document["objective_ms"]:g} ms and less than 0.1 % failed: ',
        f"<b>{rate}</b>.</p>",
        f"<p>A closed loop did {document['capacity']:,.1f} calls a second. The steps are open loops: calls are due "
        "whether or not those before were answered, and latencies count from when a call was due.</p>",
        f"<h2>Steps</h2>{_steps_table(steps)}",
        f'<div class="plots">{"".join(f"<figure>{_svg(draw, steps)}</figure>" for draw in PLOTS)}</div>',
        f"<h2>Kinds of calls, at {shown['multiple']:g} times the capacity</h2>{_kinds_table(shown)}",
        f"<h2>Settings</h2>{_pairs(document['settings'])}",
        f"<h2>Environment</h2>{_pairs(document['environment'])}</html>",
    ]
    return "\n".join(parts) + "\n"


def _shown(steps: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The step that details are shown of: the one nearest to 80 % of the capacity."""
    return min(steps, key=lambda step: abs(step["multiple"] - 0.8))


def _steps_table(steps: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for step in steps:
        latency = step["latency_ms"]
        bound = "; ".join(step["generator_bound"])
        errors = ", ".join(f"{count} {name}" for name, count in step["errors"].items())
        rows.append(
            [
                f"{step['multiple']:g} x",
                f"{step['offered']:,.1f}",
                f"{step['answered']:,.1f}",
                *(f"{latency.get(share, 0):,.1f}" for share in ("50", "90", "99", "99.9", "100")),
                f"{100 * step['failed_share']:.2f} %",
                _told(errors),
                f"{step['lag_p99_ms']:.1f}",
                f'<span class="bad">{_told(bound)}</span>',
            ]
        )
    heads = [
        "load",
        "offered/s",
        "answered/s",
        "p50 ms",
        "p90",
        "p99",
        "p99.9",
        "max",
        "failed",
        "errors",
        "lag p99",
        "",
    ]
    return _table(heads, rows)


def _kinds_table(step: Mapping[str, Any]) -> str:
    rows = []
    for kind, one in step["kinds"].items():
        latency, stages = one["latency_ms"], one["stages_ms"]
        means = [f"{stages[stage]['mean']:,.1f}" if stage in stages else "" for stage in (*STAGES, "total")]
        percentiles = [f"{latency.get(share, 0):,.1f}" for share in ("50", "99")]
        rows.append([_told(kind), f"{one['answered']:,.1f}", f"{one['items']:,.1f}", *percentiles, *means])
    heads = [
        "kind",
        "answered/s",
        "items/s",
        "p50 ms",
        "p99 ms",
        *(f"{stage}, mean ms" for stage in (*STAGES, "total")),
    ]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _pairs(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{_told(str(name))}</td><td>{_told(str(value))}</td></tr>" for name, value in values.items()
    )
    return f'<table class="pairs">{rows}</table>'


def _told(text: str) -> str:
    return escaping.escape(text)


def _svg(draw: Callable[[Axes, Sequence[Mapping[str, Any]]], None], steps: Sequence[Mapping[str, Any]]) -> str:
    figure = Figure(figsize=(6.2, 3.8))
    axes = figure.subplots()
    draw(axes, steps)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _latency(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    answered = [step["answered"] for step in steps]
    for share, colour in zip(("50", "90", "99"), COLOURS, strict=False):
        values = [step["latency_ms"].get(share, 0.0) for step in steps]
        axes.plot(answered, values, marker="o", color=colour, label=f"p{share}")
    axes.set(title="Latency by load", xlabel="answered, calls a second", ylabel="ms from when it was due", yscale="log")
    axes.legend()


def _throughput(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    offered = [step["offered"] for step in steps]
    axes.plot(offered, offered, color=COLOURS[4], linestyle="--", label="offered")
    axes.plot(offered, [step["answered"] for step in steps], marker="o", color=COLOURS[0], label="answered")
    axes.set(title="Answers by load", xlabel="offered, calls a second", ylabel="calls a second")
    axes.legend()


def _percentiles(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    names = list(_shown(steps)["latency_ms"])
    for number, step in enumerate(steps):
        values = [step["latency_ms"].get(share) for share in names]
        if None not in values:
            axes.plot(
                range(len(names)),
                values,
                marker=".",
                label=f"{step['multiple']:g} x",
                alpha=0.4 + 0.6 * number / len(steps),
            )
    axes.set_xticks(range(len(names)), [f"p{share}" if share != "100" else "max" for share in names])
    axes.set(title="Percentiles by load", ylabel="ms", yscale="log")
    axes.legend(fontsize=8, ncol=2)


def _stages(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    below = [0.0] * len(steps)
    places = range(len(steps))
    for stage, colour in zip(STAGES, COLOURS, strict=False):
        means = [step["stages_ms"].get(stage, {}).get("mean", 0.0) for step in steps]
        axes.bar(places, means, bottom=below, color=colour, label=stage)
        below = [low + mean for low, mean in zip(below, means, strict=True)]
    axes.set_xticks(places, [f"{step['multiple']:g} x" for step in steps])
    axes.set(title="Where a call's time goes, mean of calls that tell", ylabel="ms")
    axes.legend()


def _series(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    step = _shown(steps)
    seconds = [window["second"] for window in step["series"]]
    axes.plot(seconds, [window["p50_ms"] for window in step["series"]], color=COLOURS[0], label="p50")
    axes.plot(seconds, [window["p99_ms"] for window in step["series"]], color=COLOURS[1], label="p99")
    axes.set(title=f"Over time, at {step['multiple']:g} x", xlabel="seconds", ylabel="ms", ylim=(0, None))
    axes.legend()


def _batches(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    step = _shown(steps)
    lanes = step["batches"]
    bounds = sorted({bound for counts in lanes.values() for bound in counts}, key=float)
    width = 0.8 / max(1, len(lanes))
    for number, (lane, counts) in enumerate(lanes.items()):
        whole = sum(counts.values())
        shares = [100 * counts.get(bound, 0.0) / whole for bound in bounds]
        axes.bar([n + number * width for n in range(len(bounds))], shares, width, label=lane, color=COLOURS[number])
    axes.set_xticks([n + 0.4 - width / 2 for n in range(len(bounds))], [f"≤ {float(bound):g}" for bound in bounds])
    axes.set(title=f"Items in a batch, at {step['multiple']:g} x", ylabel="% of batches")
    axes.legend()


PLOTS: Final = (_latency, _throughput, _percentiles, _stages, _series, _batches)
