"""Fingerprints, workloads, the mix, processes and the report."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import grpc
import pytest

from benchmarks.harness.bare_server import HITS, fixed_answer
from benchmarks.harness.closed_loop import Measured
from benchmarks.harness.facts import cpu_model
from benchmarks.harness.figures import Summary, once
from benchmarks.harness.mixed import WEIGHTS, Mix
from benchmarks.harness.models import MissingInput, fingerprint, random_bundle, sample
from benchmarks.harness.process import child, cpu_s, resident_bytes
from benchmarks.harness.report import Line, as_json, markdown_rows
from benchmarks.harness.sections.throughput import Rounds
from benchmarks.harness.workload import queries, unit_vectors


def line(median: float, target: float | None = None, better: str = "higher") -> Line:
    return Line("text", "served / raw", "x", Summary(median, 0.5, 2000.0, 5), target, better)  # type: ignore[arg-type]


def test_a_fingerprint_changes_with_texts_names_and_contents(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("a")
    other.write_text("a")
    prints = [fingerprint(["x"], [one]), fingerprint(["y"], [one]), fingerprint(["x"], [other]), fingerprint(["x"])]
    prints += [fingerprint(["x"], [one, other]), fingerprint(["x", "y"]), fingerprint(["xy"])]
    one.write_text("b")
    prints.append(fingerprint(["x"], [one]))
    assert len(set(prints)) == len(prints)
    assert fingerprint(["x"], [one, other]) == fingerprint(["x"], [other, one])


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="--tokenizer"):
        random_bundle(tmp_path, "fp32", 0, tmp_path / "nowhere")
    with pytest.raises(MissingInput, match="--bundle"):
        sample(tmp_path, tmp_path / "nowhere", 10, 0)


def test_queries_are_seeded_and_of_every_length() -> None:
    texts = queries(9, seed=3)
    assert texts == queries(9, seed=3) != queries(9, seed=4)
    assert sorted(len(text.split()) for text in texts) == list(range(4, 13))


def test_unit_vectors_have_unit_length() -> None:
    assert (unit_vectors(3, 16, seed=0) ** 2).sum(axis=1) == pytest.approx([1.0] * 3, abs=1e-5)


def test_the_mix_holds_every_kind_and_is_seeded() -> None:
    def draw(seed: int) -> list[tuple[str, grpc.StatusCode]]:
        mix = Mix(
            texts=["red dress", "blue mug"], pictures=[b"jpeg" * 100], items=["mug-1"], dimension=4, random=Random(seed)
        )
        return [(call.kind, call.expected) for call in (mix.next() for _ in range(2000))]

    calls = draw(1)
    assert calls == draw(1)
    counts = Counter(kind for kind, _ in calls)
    assert set(counts) == set(WEIGHTS)
    expected = {code for kind, code in calls if kind == "bad input"}
    assert expected == {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert all(code is grpc.StatusCode.OK for kind, code in calls if kind not in {"bad input", "cancelled"})


def test_the_bare_servicer_answers_ten_hits_best_first() -> None:
    scores = [hit.score for hit in fixed_answer().hits]
    assert len(scores) == HITS
    assert scores == sorted(scores, reverse=True)


def test_a_child_is_watched_and_ended(tmp_path: Path) -> None:
    program = "import time; print('up', flush=True); time.sleep(60)"
    with child([sys.executable, "-c", program], tmp_path / "logs" / "child.log") as process:
        assert resident_bytes(process.pid) > 0
        assert cpu_s(process.pid) >= 0.0
    assert process.returncode is not None


def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    log = tmp_path / "child.log"
    with child([sys.executable, "-c", program], log, grace_s=0.2) as process:
        while not log.read_text():
            assert process.poll() is None
    assert process.returncode == -9


def test_verdicts() -> None:
    assert line(0.9, 0.85).verdict == "PASS"
    assert line(0.8, 0.85).verdict == "short"
    assert line(0.8, 1.0, "lower").verdict == "PASS"
    assert line(1.2, 1.0, "lower").verdict == "short"
    assert line(1.0).verdict == ""


def test_lines_come_back_from_json_and_become_rows() -> None:
    lines = [line(0.9, 0.85), line(0.8, 1.0, "lower")]
    assert [Line.of(one) for one in json.loads(json.dumps(as_json(lines)))] == lines
    assert markdown_rows(lines)[2] == "| text | served / raw | 0.9 x | 0.5 … 2,000 | ≥ 0.85 x | PASS |"
    alone = replace(lines[0], value=once(0.9))
    assert markdown_rows([alone])[2] == "| text | served / raw | 0.9 x |  | ≥ 0.85 x | PASS |"


def test_the_processor_is_named_with_its_stepping() -> None:
    cpuinfo = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: A: fast\nstepping\t: 2\n\nprocessor: 1"
    assert cpu_model(cpuinfo) == "A: fast (family/model/stepping 6/207/2)"
    assert cpu_model("") == "unknown (family/model/stepping ?/?/?)"


def test_by_core_the_load_generators_share_is_nobodys_fault() -> None:
    rounds = Rounds()
    for served, cores in ((180.0, 1.8), (90.0, 1.8)):
        measured = Measured(rate=served, shares=[1.0], server_cores=cores, generator_cores=2.0 - cores)
        rounds.add(200.0, 2.0, measured, 0.0)
    assert rounds.ratios_by_core() == pytest.approx([1.0, 0.5])
