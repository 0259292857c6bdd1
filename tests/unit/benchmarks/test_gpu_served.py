"""The figures of the server on a GPU: what counts, when a rate is within its objective, and what gives way first."""

import pytest

from benchmarks.gpu.served import summary, table, within_slo, works
from benchmarks.gpu.watching import Gpu, Machine, limits
from benchmarks.harness.open_loop import OK, Calls
from clipsearch.v1 import search_pb2


def test_what_is_answered_in_time_is_counted_and_latencies_are_of_what_was_answered() -> None:
    first = Calls(1.0, [(0.0, 0.001, 0.010, OK, "a"), (1.0, 0.002, 0.020, OK, "a"), (1.99, 0.0, 0.030, OK, "a")])
    second = Calls(1.5, [(0.5, 0.004, 9.0, "UNAVAILABLE", "a")])
    found = summary([first, second], 2.0)
    # The third began in time and ended after it.
    assert (found["answered"], found["answered_s"]) == (3, 1.0)
    assert (found["p50_ms"], found["p99_ms"]) == (20.0, 30.0)
    assert (found["failed"], found["lag_p99_ms"], found["generator_cores"]) == (0.25, 4.0, 0.75)


def test_a_run_without_an_answer_says_what_came_instead() -> None:
    with pytest.raises(RuntimeError, match=r"of 1 calls none was answered in 1 s: \['UNAVAILABLE'\]"):
        summary([Calls(0.1, [(0.0, 0.0, 0.1, "UNAVAILABLE", "a")])], 1.0)
    with pytest.raises(RuntimeError, match=r"of 1 calls none was answered in 1 s: \['OK'\]"):
        summary([Calls(0.1, [(0.9, 0.0, 0.2, OK, "a")])], 1.0)


def step(answered_s: float, p99_ms: float, failed: float = 0.0, lag_p99_ms: float = 0.0) -> dict[str, float]:
    return {"answered_s": answered_s, "p99_ms": p99_ms, "failed": failed, "lag_p99_ms": lag_p99_ms}


def test_the_largest_rate_within_the_objective() -> None:
    kept = [step(100.0, 5.0), step(300.0, 20.0), step(200.0, 10.0)]
    spoilt = [step(400.0, 20.1), step(500.0, 5.0, failed=0.001), step(600.0, 5.0, lag_p99_ms=5.1)]
    assert within_slo([*kept, *spoilt]) == 300.0
    assert within_slo(spoilt) is None


def test_the_part_nearest_to_its_limit_comes_first() -> None:
    machine = Machine(cores=16, fronts=2, decoders=8)
    cores = {"fronts": 1.2, "event_loop": 0.5, "text_lane": 0.2, "image_lane": 0.1, "decoders": 7.2, "all": 9.0}
    found = {one.part: one.share for one in limits(machine, cores, {"GPU": 0.75})}
    assert found == {
        "decoders": 0.9, "interpreter: event loop and lanes": 0.8, "GPU": 0.75, "fronts": 0.6, "all cores": 0.562,
    }  # fmt: skip
    assert list(found) == sorted(found, key=lambda part: -found[part])
    assert "fronts" not in {one.part for one in limits(Machine(16, 0, 8), cores, {})}


def test_hardly_two_calls_are_the_same_and_the_table_has_every_step() -> None:
    searches, texts, pictures = works(64)
    assert len(set(searches.bodies)) > 0.95 * len(searches.bodies)
    assert search_pb2.SearchRequest.FromString(searches.bodies[0]).top_k == 10
    assert len(pictures.bodies) == len(set(pictures.bodies))
    assert not texts.shares
    figures = {"answered_s": 5000.0, "p50_ms": 5.0, "p99_ms": 9.0, "failed": 0.0}
    result = {
        "name": "search by text", "in_flight": 64, "closed": figures, "open": [{"share": 0.5, **figures}],
        "limits": [{"part": "GPU", "share": 0.9}],
    }  # fmt: skip
    rows = table([result]).splitlines()
    assert rows[2] == "| search by text | closed, 64 | 5,000 | 5.0 ms | 9.0 ms | 0.00 % | GPU 0.90 |"
    assert rows[3].startswith("| search by text | 0.5 x |")


def test_without_a_gpu_nothing_of_it_is_seen() -> None:
    gpu = Gpu()
    if gpu.name is not None:
        pytest.skip("there is a GPU")
    gpu.start()
    gpu.stop()
    assert gpu.busy_s is None and gpu.bytes_in is None
