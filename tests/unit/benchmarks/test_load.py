"""The load suite's parts: arrivals, recording, options, verdicts, comparison, shapes and the report."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.load.arrivals import due_times
from benchmarks.load.compare import changes, differs
from benchmarks.load.measuring import Measuring
from benchmarks.load.options import MIX, Options, mix_of
from benchmarks.load.recorder import UNSENT, Recorder
from benchmarks.load.report import html
from benchmarks.load.summary import batches_between, step_of, within_objective
from benchmarks.load.work import Sizes, Work, zipf_shares
from clipsearch.cli.scrape import parse

ROOT = Path(__file__).parents[3]


def options(**changes: Any) -> Options:
    plain: dict[str, Any] = {
        "arrivals": "poisson", "rate": 1.0, "deadline_s": 1.0, "mix": {}, "sizes": Sizes(), "seed": 0,
        "in_flight": 4, "most_lag_ms": 20.0, "window_s": 1.0, "record": "",
    }  # fmt: skip
    return Options(**{**plain, **changes})


def test_poisson_arrivals_have_their_rate_and_its_spread() -> None:
    due = list(itertools.islice(due_times("poisson", 50.0, 100.0, random.Random(1)), 20_000))
    gaps = np.diff(due)
    assert due[0] > 100.0 and (gaps > 0).all()
    assert gaps.mean() == pytest.approx(0.02, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03), "of an exponential distribution both are the same"


def test_constant_arrivals_are_even_and_begin_apart() -> None:
    starts = []
    for seed in range(20):
        due = list(itertools.islice(due_times("constant", 10.0, 5.0, random.Random(seed)), 50))
        assert np.diff(due) == pytest.approx(0.1)
        assert 5.0 <= due[0] < 5.1
        starts.append(due[0])
    assert np.std(starts) > 0.01, "sources do not march in step"


def test_arrivals_do_not_depend_on_when_they_are_asked_for() -> None:
    one, other = (due_times("poisson", 9.0, 0.0, random.Random(3)) for _ in range(2))
    assert [next(one) for _ in range(9)] == [next(other) for _ in range(9)]


@pytest.mark.parametrize(("arrivals", "rate"), [("closed", 1.0), ("poisson", 0.0), ("constant", -1.0)])
def test_arrivals_that_there_are_none_of(arrivals: Any, rate: float) -> None:
    with pytest.raises(ValueError):
        next(due_times(arrivals, rate, 0.0, random.Random(0)))


def test_records_of_two_processes_add_up_without_loss() -> None:
    whole, parts = Recorder(), [Recorder(), Recorder()]
    chance = random.Random(0)
    for n in range(4000):
        took = chance.expovariate(20)
        for recorder in (whole, parts[n % 2]):
            recorder.sent(n / 100, n / 100 + 0.001)
            if n % 50:
                recorder.ok("text search", n / 100, n / 100 + took, {"encode_us": 1500, "total_us": 0}, items=10)
            else:
                recorder.failed("text search", n / 100, "RESOURCE_EXHAUSTED", "QUEUE_FULL")
    added = Recorder()
    for part in parts:
        added.add(Recorder.of(json.loads(json.dumps(part.taken()))))
        assert not part.windows, "what was taken is not taken again"
    one, other = (
        step_of({**recorder.taken(), "cores": {}, "generator_bound": []}, 40.0) for recorder in (whole, added)
    )
    assert one == other
    assert one["kinds"]["text search"]["errors"] == {"RESOURCE_EXHAUSTED QUEUE_FULL": one["errors"].popitem()[1]}
    assert one["stages_ms"]["encode"]["50"] == pytest.approx(1.5, rel=1e-3)


def test_percentiles_are_not_rounded_to_two_digits() -> None:
    recorder = Recorder()
    for n in range(1000):
        recorder.ok("k", float(n % 4), n % 4 + 0.123456, {})
    step = step_of({**recorder.taken(), "cores": {}, "generator_bound": []}, 1.0)
    assert step["latency_ms"]["99"] == pytest.approx(123.456, rel=1e-3)


def test_a_step_leaves_out_its_warm_up_and_its_last_window() -> None:
    recorder = Recorder()
    for second, count in enumerate((5, 5, 20, 20, 20, 20, 20, 3)):
        for n in range(count):
            recorder.ok("k", second + n / 100, second + n / 100 + 0.01, {})
    step = step_of({**recorder.taken(), "cores": {}, "generator_bound": []}, 8.0)
    assert (step["offered"], len(step["series"])) == (20.0, 5)
    with pytest.raises(ValueError, match="no call at all"):
        step_of({**Recorder().taken(), "cores": {}, "generator_bound": []}, 8.0)


def test_a_generator_that_is_late_busy_or_full_is_told() -> None:
    measuring = Measuring(options())
    for _ in range(100):
        measuring.own.sent(0.0, 0.002)
        measuring.own.ok("k", 0.0, 0.1, {})
    message: dict[str, Any] = {}
    measuring.report("w0", message)
    message["clipsearch"]["cores"] = 0.2
    measuring.take("w0", message)
    assert measuring.bound() == []
    measuring.cores["w1"] = 0.97
    for _ in range(20):
        measuring.all.sent(0.0, 0.5)
    measuring.all.failed("k", 0.0, UNSENT, "")
    late, busy, full = measuring.bound()
    assert "500" in late and "w1 used 0.97" in busy and "1 calls were not sent" in full


def test_a_mix_is_read_and_a_wrong_one_refused() -> None:
    assert sum(mix_of(MIX).values()) == 100
    assert mix_of("a b=2, c=0.5") == {"a b": 2.0, "c": 0.5}
    for wrong in ("a", "a=x", "a=0", "=3", ""):
        with pytest.raises(ValueError):
            mix_of(wrong)


def test_texts_repeat_by_zipfs_law() -> None:
    shares = zipf_shares(2000, 1.1)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] / shares[9] == pytest.approx(10**1.1)
    work = Work(Sizes(), 3)
    drawn = [work.text() for _ in range(20_000)]
    counts = sorted((drawn.count(text) for text in set(drawn)), reverse=True)
    assert counts[0] / len(drawn) == pytest.approx(shares[0], rel=0.1)
    assert zipf_shares(10, 0.0) == pytest.approx([0.1] * 10)


def test_every_request_is_of_its_kind_and_size() -> None:
    work = Work(Sizes(batch=16, top_k=7, dimension=8), 1)
    assert work.search("by text").query.text and work.search("by text").top_k == 7
    assert work.search("by image").query.image.startswith(b"\xff\xd8")
    assert [term.weight < 0 for term in work.search("composed").terms] == [False, False, True]
    assert work.search("filtered").filter
    assert [one.WhichOneof("input") for one in work.batch().inputs].count("image") == 2
    assert len({one.item_id for one in work.stream()}) == 16
    assert {len(item.vector.float16) for item in work.upsert().items} == {16}


def test_the_objective_takes_the_largest_rate_that_meets_it() -> None:
    def step(answered: float, p99: float, failed: float = 0.0, bound: tuple[str, ...] = ()) -> dict[str, Any]:
        return {
            "answered": answered, "latency_ms": {"99": p99}, "failed_share": failed, "generator_bound": list(bound),
        }  # fmt: skip

    steps = [step(10, 20), step(50, 80), step(70, 90, failed=0.01), step(80, 95, bound=("late",)), step(90, 300)]
    assert within_objective(steps, 100.0) == 50
    assert within_objective(steps, 10.0) is None


def test_batches_are_those_between_two_looks() -> None:
    def look(*counts: int) -> Any:
        lines = [
            f'clipsearch_batch_items_bucket{{lane="text",le="{le}"}} {count}'
            for le, count in zip(("1.0", "4.0", "+Inf"), counts, strict=True)
        ]
        return parse("# TYPE clipsearch_batch_items histogram\n" + "\n".join(lines) + "\n", 0.0)

    assert batches_between(look(5, 6, 6), look(7, 12, 12)) == {"text": {"1.0": 2, "4.0": 4}}


def run_of(rate: float, p99_ms: float, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    series = [
        {
            "second": n,
            "answered": chance.gauss(rate, 3),
            "p50_ms": chance.gauss(8, 0.5),
            "p99_ms": chance.gauss(p99_ms, 6),
        }
        for n in range(20)
    ]
    return {"steps": [{"multiple": 0.8, "series": series}]}


def test_a_comparison_tells_change_from_noise() -> None:
    same = changes(run_of(100, 60, 1), run_of(100, 60, 2))
    assert not any(one.beyond_noise for one in same)
    found = {one.figure: one.beyond_noise for one in changes(run_of(100, 60, 1), run_of(115, 90, 2))}
    assert found == {"answered": True, "p50_ms": False, "p99_ms": True}
    with pytest.raises(ValueError, match="no step in common"):
        changes(run_of(1, 1, 1), {"steps": []})
    assert not differs([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])


SHAPES = """
import json
from benchmarks.load.shapes.soak import Soak
from benchmarks.load.shapes.spike import Spike
from benchmarks.load.shapes.step import StepsToSaturation

def users(shape, at):
    shape.get_run_time = lambda: at
    ticked = shape.tick()
    return ticked and ticked[0]

print(json.dumps([
    [users(StepsToSaturation(), at) for at in (0, 21, 199, 200)],
    [users(Spike(), at) for at in (0, 30, 44, 46, 90)],
    [users(Soak(), at) for at in (0, 3599, 3600)],
]))
"""


def test_shapes_rise_peak_and_end() -> None:
    """In a process of its own: Locust patches whatever imports it."""
    done = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == [[10, 20, 100, None], [10, 80, 80, 10, None], [20, 20, None]]


def test_the_report_needs_nothing_else_and_quotes_what_it_is_told() -> None:
    recorder = Recorder()
    for n in range(500):
        recorder.ok("<kind>", n / 50, n / 50 + 0.02, {"encode_us": 900, "total_us": 1500})
    recorder.failed("<kind>", 5.0, "UNAVAILABLE", "")
    step = step_of({**recorder.taken(), "cores": {"local": 0.2}, "generator_bound": ["it was <late>"]}, 10.0)
    steps = [{"multiple": multiple, **step, "batches": {"text": {"1.0": 4, "8.0": 2}}} for multiple in (0.5, 0.8)]
    document = {
        "environment": {"cpu": "<cpu>"}, "settings": {}, "objective_ms": 100.0, "within_objective": 42.0,
        "capacity": 50.0, "steps": steps,
    }  # fmt: skip
    page = html(document)
    assert page.count("<svg") == 6
    assert "&lt;kind&gt;" in page and "&lt;late&gt;" in page and "<late>" not in page
    assert "src=" not in page and 'href="http' not in page, "nothing is fetched"
    assert "42.0 calls a second" in page
