"""Where the threads of a wide run compute."""

import os
import threading
from pathlib import Path

import pytest

from clipsearch.encoders import cores
from clipsearch.encoders.runtime import CPU, CpuGraph, open_session
from tests.integration.support import SAMPLE_BUNDLE
from tests.waiting import eventually

GRAPH = SAMPLE_BUNDLE / "text.onnx"

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads")
needs_two = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one CPU has no elsewhere"
)


@pytest.fixture
def seven_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may use all but the first of eight."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(1, 8)))


def test_cpus_are_dealt_out_without_one_left_over_or_given_twice(seven_cpus: None) -> None:
    assert cores.dealt(2) == [[1, 2, 3], [4, 5, 6, 7]]
    assert cores.dealt(3) == [[1, 2], [3, 4], [5, 6, 7]]
    assert cores.dealt(7) == [[1], [2], [3], [4], [5], [6], [7]]


@pytest.mark.parametrize("threads", [0, 1, 8])
def test_nobody_is_pinned_without_helpers_or_without_a_cpu_for_each(seven_cpus: None, threads: int) -> None:
    assert cores.dealt(threads) == [[]]


@needs_two
def test_the_caller_keeps_to_its_cpus_and_is_free_again_after_an_error() -> None:
    before = os.sched_getaffinity(0)
    own, _ = cores.dealt(2)
    with pytest.raises(ValueError, match="inside"), cores.kept_to(own):
        assert os.sched_getaffinity(0) == set(own)
        raise ValueError("inside")
    assert os.sched_getaffinity(0) == before


def test_a_caller_that_may_not_go_there_stays() -> None:
    before = os.sched_getaffinity(0)
    for cpus in (sorted(before), [], [10**6]):
        with cores.kept_to(cpus):
            assert os.sched_getaffinity(0) == before


def threads() -> set[int]:
    """The ids of this process's threads."""
    return {int(one.name) for one in Path("/proc/self/task").iterdir()}


@needs_two
@pytest.mark.parametrize("several", [False, True])
def test_the_helpers_of_a_wide_session_are_where_they_were_put(several: bool) -> None:
    before, (_, only) = threads(), cores.dealt(2)
    cpus = sorted(os.sched_getaffinity(0)) if several else only
    session = open_session(GRAPH, {CPU: {}}, 2, spin=True, helpers=[cpus])
    (helper,) = threads() - before
    eventually(lambda: os.sched_getaffinity(helper) == set(cpus))  # which it does itself, once it runs
    del session


def test_only_runs_that_spin_keep_to_cpus() -> None:
    assert CpuGraph(GRAPH, 2)._cpus == []
    assert CpuGraph(GRAPH, 2, spin=True)._cpus == cores.dealt(2)[0]


def test_a_wide_session_of_more_threads_than_cpus_runs_all_the_same() -> None:
    wide = CpuGraph(GRAPH, len(os.sched_getaffinity(0)) + 1, spin=True)
    assert wide.run((1, 3), lambda batch: batch.fill(1)).shape[0] == 1


@needs_two
def test_a_wide_run_leaves_its_caller_as_it_was() -> None:
    wide = CpuGraph(GRAPH, 2, spin=True)
    seen: list[set[int]] = []

    def call() -> None:
        wide.run((1, 3), lambda batch: batch.fill(1))
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(30)
    assert seen == [os.sched_getaffinity(0)]
