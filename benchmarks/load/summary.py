"""A run's record in figures: rates, percentiles, errors, stages, batches, and the same second by second."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from benchmarks.harness.figures import percentile
from benchmarks.load.recorder import Recorder, Window, merged
from clipsearch.cli.scrape import Scrape

PERCENTILES: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0)
WARM_UP: Final = 0.25
"""Part of a step whose calls are left out: users start, connections are made, batches find their size."""

LANES: Final = ("text", "image", "search", "write")


def step_of(record: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return the figures of a step of so many seconds; raises ValueError where nothing was recorded."""
    recorder = Recorder.of(record)
    numbers = [number for number, _ in recorder.windows]
    if not numbers:
        raise ValueError("the step recorded no call at all")
    # Not the last window, which is cut short.
    first, last = min(numbers) + WARM_UP * seconds / recorder.window_s, max(numbers)
    counted = {key: window for key, window in recorder.windows.items() if first <= key[0] < last}
    length_s = max(1, len({number for number, _ in counted})) * recorder.window_s
    kinds = sorted({kind for _, kind in counted})
    by_kind = {kind: merged(window for (_, its), window in counted.items() if its == kind) for kind in kinds}
    return {
        **_figures(merged(counted.values()), length_s),
        "kinds": {kind: _figures(window, length_s) for kind, window in by_kind.items()},
        "series": _series(counted, recorder.window_s),
        "lag_p99_ms": _ms(recorder.lags.get_value_at_percentile(99.0)),
        "generator_cores": record["cores"],
        "generator_bound": record["generator_bound"],
    }


def _figures(window: Window, length_s: float) -> dict[str, Any]:
    answered, failed = window.latencies.get_total_count(), sum(window.errors.values())
    return {
        "offered": round((answered + failed) / length_s, 2),
        "answered": round(answered / length_s, 2),
        "items": round(window.items / length_s, 2),
        "failed_share": failed / max(1, answered + failed),
        "errors": {" ".join(names).strip(): count for names, count in sorted(window.errors.items())},
        "latency_ms": percentiles_ms(window.latencies),
        "stages_ms": {
            stage.removesuffix("_us"): {"mean": round(measured.get_mean_value() / 1e3, 3), **percentiles_ms(measured)}
            for stage, measured in window.stages.items()
        },
    }


def percentiles_ms(measured: HdrHistogram) -> dict[str, float]:
    """Return a histogram's percentiles, in milliseconds; none of an empty one."""
    if not measured.get_total_count():
        return {}
    return {f"{share:g}": _ms(measured.get_value_at_percentile(share)) for share in PERCENTILES}


def _series(counted: Mapping[tuple[int, str], Window], window_s: float) -> list[dict[str, float]]:
    series = []
    begin = min(number for number, _ in counted) if counted else 0
    for number in sorted({number for number, _ in counted}):
        whole = merged(window for (its, _), window in counted.items() if its == number)
        latencies = percentiles_ms(whole.latencies)
        series.append(
            {
                "second": (number - begin) * window_s,
                "answered": round(whole.latencies.get_total_count() / window_s, 2),
                "failed": sum(whole.errors.values()),
                "p50_ms": latencies.get("50", 0.0),
                "p99_ms": latencies.get("99", 0.0),
            }
        )
    return series


def _ms(microseconds: float) -> float:
    return round(microseconds / 1e3, 3)


def batches_between(before: Scrape, after: Scrape) -> dict[str, dict[str, float]]:
    """Return how many batches of up to so many items each lane ran between two looks at its metrics."""
    found: dict[str, dict[str, float]] = {}
    for lane in LANES:
        bounds = sorted(
            {dict(labels)["le"] for labels in after.values.get("clipsearch_batch_items_bucket", {})}, key=float
        )
        below, counts = 0.0, {}
        for bound in bounds:
            grown = sum(
                sign * look.total("clipsearch_batch_items_bucket", lane=lane, le=bound)
                for sign, look in ((1, after), (-1, before))
            )
            if grown > below:
                counts[bound] = grown - below
            below = grown
        if counts:
            found[lane] = counts
    return found


def within_objective(steps: Sequence[Mapping[str, Any]], p99_ms: float, failed_share: float = 0.001) -> float | None:
    """Return the largest rate of answers among steps that meet the objective; None where none does."""
    good = [
        step["answered"]
        for step in steps
        if not step["generator_bound"]
        and step["failed_share"] < failed_share
        and step["latency_ms"].get("99", float("inf")) <= p99_ms
    ]
    return max(good, default=None)


def all_errors(steps: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return the errors of all steps, by status and reason."""
    errors: Counter[str] = Counter()
    for step in steps:
        errors.update(step["errors"])
    return errors


def middle(series: Sequence[Mapping[str, float]], figure: str) -> float:
    """Return the median of a figure over the windows of a step."""
    return percentile([window[figure] for window in series], 0.5)
