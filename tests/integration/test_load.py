"""Locust runs against a real server: what it records, from how many processes, and what a stall looks like."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from benchmarks.load import run
from benchmarks.load.measuring import BOUND_STATUS
from benchmarks.load.recorder import Recorder, merged
from clipsearch.cli.scrape import scrape
from clipsearch.telemetry.metrics import REQUESTS
from tests.faults.served import DIMENSION, ROOT, Server, item_of
from tests.waiting import eventually

LAX = ("--most-lag-ms", "10000")
"""For tests on machines that are busy with others: what is tested is the server's part."""


@pytest.fixture(name="loaded", scope="module")
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--metrics-listen", "127.0.0.1:0", "--query-cache-mib", "0")
    with Server(tmp_path_factory.mktemp("load") / "data", *flags) as server:
        server.client.upsert([item_of(item, 0) for item in range(50)])
        yield server


def locust(server: Server, record: Path, *arguments: str) -> tuple[int, dict[str, Any], Recorder]:
    """Run Locust for some seconds; returns its status and its record, as it is and read."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "benchmarks/locustfile.py"), "--headless"]
    command += ["--only-summary", "--host", server.address, "--record", str(record)]
    command += ["--vector-size", str(DIMENSION), "--picture-side", "64", "--batch-items", "4"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert record.exists(), done.stderr[-3000:]
    document = json.loads(record.read_text(encoding="utf-8"))
    return done.returncode, document, Recorder.of(document)


def test_all_kinds_from_two_processes(loaded: Server, tmp_path: Path) -> None:
    status, document, recorder = locust(
        loaded, tmp_path / "r", "--processes", "2", "-u", "6", "-r", "6", "-t", "6s", "--rate", "8", *LAX, "MixUser"
    )
    assert status == 0
    assert len(document["cores"]) == 2 and all(cores > 0 for cores in document["cores"].values())
    kinds = {kind for _, kind in recorder.windows}
    assert {"text search", "filtered search"} <= kinds and len(kinds) >= 5
    whole = merged(recorder.windows.values())
    assert not whole.errors
    assert 0.5 * 6 * 8 * 6 < whole.latencies.get_total_count() < 1.5 * 6 * 8 * 6, "six users of eight a second, 6 s"
    assert whole.stages["encode_us"].get_total_count() > 50


def test_errors_are_told_by_status_and_reason_and_a_class_can_be_chosen(loaded: Server, tmp_path: Path) -> None:
    arguments = ("-u", "2", "-r", "2", "-t", "3s", "--rate", "10", "--top-k", "5000", *LAX, "TextSearchUser")
    status, _, recorder = locust(loaded, tmp_path / "r", *arguments)
    assert status == 1, "Locust's own, where calls failed"
    whole = merged(recorder.windows.values())
    assert set(whole.errors) == {("INVALID_ARGUMENT", "TOP_K_OUT_OF_RANGE")}
    assert {kind for _, kind in recorder.windows} == {"text search"}
    assert not whole.latencies.get_total_count()


def test_a_stall_shows_in_an_open_loop_and_hides_in_a_closed_one(loaded: Server, tmp_path: Path) -> None:
    """A second's stop of the server, seen by few calls in a closed loop, and by all that were due in an open one."""
    metrics = f"127.0.0.1:{loaded.wait_for('metrics on .* port ([0-9]+)$')[1]}"

    def stopped(name: str, *arguments: str) -> HdrHistogram:
        common = ("-u", "2", "-r", "2", "-t", "7s", "--deadline-ms", "5000", *LAX, "TextSearchUser")
        before = calls(metrics)
        with ThreadPoolExecutor(1) as beside:
            running = beside.submit(locust, loaded, tmp_path / name, *arguments, *common)
            eventually(lambda: calls(metrics) > before)
            time.sleep(1.0)
            loaded.process.send_signal(signal.SIGSTOP)
            time.sleep(1.0)
            loaded.process.send_signal(signal.SIGCONT)
            return merged(running.result()[2].windows.values()).latencies

    opened, closed = stopped("o", "--rate", "25"), stopped("c", "--arrivals", "closed")
    assert opened.get_value_at_percentile(95) > 300_000, "in microseconds; a seventh of the calls waited"
    assert closed.get_value_at_percentile(95) < 200_000, "two calls waited, of thousands"
    assert closed.get_max_value() > 800_000


def calls(metrics: str) -> float:
    """How many searches a server has answered."""
    return scrape(metrics).total(REQUESTS.name, method="Search")


def test_a_generator_that_cannot_keep_up_fails_the_run(loaded: Server, tmp_path: Path) -> None:
    arguments = ("-u", "1", "-r", "1", "-t", "3s", "--rate", "200", "--in-flight", "1", "BatchEmbedUser")
    status, document, _ = locust(loaded, tmp_path / "r", *arguments)
    assert status == BOUND_STATUS
    assert any("were not sent" in sign for sign in document["generator_bound"])


@pytest.mark.slow
def test_make_bench_measures_and_writes_its_report(loaded: Server, tmp_path: Path, capsys: Any) -> None:
    metrics = f"127.0.0.1:{loaded.wait_for('metrics on .* port ([0-9]+)$')[1]}"
    arguments = ["--quick", "--server", loaded.address, "--metrics", metrics, "--dimension", str(DIMENSION)]
    arguments += ["--out", str(tmp_path), "--picture-side", "64", "--batch-items", "4", *LAX]
    run.main(arguments)
    document = json.loads((tmp_path / "load.json").read_text(encoding="utf-8"))
    assert [step["multiple"] for step in document["steps"]] == list(run.QUICK_MULTIPLES)
    rates = [step["answered"] for step in document["steps"]]
    assert rates == sorted(rates) and rates[0] > 0
    assert all(step["batches"]["text"] for step in document["steps"])
    assert document["capacity"] > rates[0]
    assert "<svg" in (tmp_path / "load.html").read_text(encoding="utf-8")
    assert "with p99 within 100 ms" in capsys.readouterr().out
