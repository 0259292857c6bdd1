"""What sight costs: ``Search`` by vector on the sample model with metrics off and on, and with a line for every call.

One server each, all of them up for the whole run; they take turns under the same load, in another order every round,
so that a busy machine slows all alike, and ratios are taken round by round. Where metrics are on they are scraped as
well, three times as often as Prometheus usually does, and once in every turn at least. See docs/monitoring.md.
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.closed_loop import Load, Measured, drive, spread
from harness.facts import environment
from harness.figures import Summary, ratios, summarise
from harness.models import ROOT, SAMPLE_BUNDLE, sample
from harness.process import free_port, settle
from harness.report import Line, as_json, table
from harness.sections.search import by_vector
from harness.server import Served, clipsearch
from harness.wire import SEARCH
from rich.console import Console

from clipsearch.batching.policy import BatchPolicy
from clipsearch.batching.queue import Entry
from clipsearch.encoders.manifest import load_bundle
from clipsearch.ports import Priority
from clipsearch.telemetry.meters import LaneMeter, RequestMeter

RESULTS = ROOT / "benchmarks" / "results" / "telemetry.json"
IN_FLIGHT = 64

FIRST_SCRAPE_S, SCRAPE_EVERY_S = 1.5, 5.0
LEAST_SHARE = 0.98
"""Of the throughput without metrics that is left with them."""

KINDS = ("off", "metrics", "metrics and access log")


@dataclass(slots=True)
class Contender:
    """A server, where it is scraped (empty: nowhere), and what was measured of it."""

    server: Served
    endpoint: str
    runs: list[Measured] = field(default_factory=list)
    scrapes_s: list[float] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the result; a hurried run goes to the work directory."""
    arguments = _arguments(argv)
    # An exception, so that context managers end the servers; the default action would orphan them.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console(stderr=True, highlight=False)
    facts = environment(ROOT)
    rounds, seconds, items = (4, 2.0, 600) if arguments.quick else (15, 4.0, 6000)
    ready = sample(arguments.work.resolve(), SAMPLE_BUNDLE, items, seed=0)
    dimension = load_bundle(ready.bundle).manifest.dimension
    with ExitStack() as stack:
        bodies = by_vector(dimension, 0, IN_FLIGHT)
        contenders = {
            kind: stack.enter_context(_contender(kind, ready.bundle, ready.data, arguments.work)) for kind in KINDS
        }
        for number in range(rounds):
            # Whoever comes first in a round may find the machine in another state than whoever comes last.
            turns = list(contenders.values())
            for contender in turns[number % len(turns) :] + turns[: number % len(turns)]:
                _measure(contender, bodies, spread(IN_FLIGHT, seconds, seconds / 4))
            rates = ", ".join(f"{kind} {one.runs[-1].rate:,.0f}/s" for kind, one in contenders.items())
            console.print(f"round {number + 1} of {rounds}: {rates}", style="dim")
    lines = _lines(contenders)
    document = {
        "environment": facts,
        "settings": {
            "rounds": rounds,
            "seconds": seconds,
            "items": items,
            "in_flight": IN_FLIGHT,
            "scrape_every_s": SCRAPE_EVERY_S,
        },
        "seed": 0,
        "lines": as_json(lines),
        "samples": {
            kind: {"runs": [asdict(run) for run in one.runs], "scrapes_s": one.scrapes_s}
            for kind, one in contenders.items()
        },
    }
    out = arguments.out or (arguments.work / "telemetry.json" if arguments.quick else RESULTS)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    screen = Console()
    screen.print(table(lines, "what sight costs"), width=None if screen.is_terminal else 140)
    console.print(f"written to {out}")


@contextmanager
def _contender(kind: str, bundle: Path, data: Path, work: Path) -> Iterator[Contender]:
    flags: list[str] = []
    endpoint = ""
    if kind != "off":
        address = f"127.0.0.1:{free_port()}"
        endpoint = f"http://{address}/metrics"
        flags += ["--metrics-listen", address]
    if "access log" in kind:
        flags += ["--access-log", "--log-format", "json"]
    copied = _copy(data, work, kind)
    with clipsearch(bundle, work / "logs" / f"telemetry-{KINDS.index(kind)}.log", data=copied, flags=flags) as server:
        yield Contender(server, endpoint)


def _copy(data: Path, work: Path, kind: str) -> Path:
    """A data directory for each server: a collection has one writer."""
    target = work / f"telemetry-data-{KINDS.index(kind)}"
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(data, target)
    return target


def _measure(contender: Contender, bodies: Sequence[bytes], load: Load) -> None:
    settle([contender.server.pid])
    with _scraped(contender):
        contender.runs.append(drive(contender.server.url(SEARCH), bodies, load, contender.server.pid))


@contextmanager
def _scraped(contender: Contender) -> Iterator[None]:
    """Scrape meanwhile."""
    over = threading.Event()

    def scrape() -> None:
        wait_s = FIRST_SCRAPE_S
        while not over.wait(wait_s):
            wait_s = SCRAPE_EVERY_S
            began = time.monotonic()
            with urllib.request.urlopen(contender.endpoint, timeout=10) as response:
                response.read()
            contender.scrapes_s.append(time.monotonic() - began)

    thread = threading.Thread(target=scrape, daemon=True)
    if contender.endpoint:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if contender.endpoint:
            thread.join()


def _lines(contenders: dict[str, Contender]) -> list[Line]:
    lines = []
    off = contenders["off"]
    for kind, one in contenders.items():
        lines.append(Line("telemetry", f"{kind}", "requests/s", summarise([run.rate for run in one.runs])))
        cpu = summarise([run.server_us for run in one.runs])
        lines.append(Line("telemetry", f"{kind}: CPU per request", "µs", cpu, better="lower"))
        if one is off:
            continue
        target = LEAST_SHARE if kind == "metrics" else None
        share = ratios([run.rate for run in one.runs], [run.rate for run in off.runs])
        lines.append(Line("telemetry", f"{kind} / off", "x", summarise(share), target))
        cpu_share = ratios([run.server_us for run in one.runs], [run.server_us for run in off.runs])
        lines.append(Line("telemetry", f"{kind} / off: CPU per request", "x", summarise(cpu_share), better="lower"))
    lines.append(Line("telemetry", "the meters alone, per request", "µs", _meters_us(), better="lower"))
    scrapes = [1e3 * seconds for seconds in contenders["metrics"].scrapes_s]
    lines.append(Line("telemetry", "a scrape under load", "ms", summarise(scrapes), better="lower"))
    return lines


def _meters_us(batch_size: int = 16, repeats: int = 2000) -> Summary:
    """What counting one request takes when nothing else runs, in batches of a usual size: five times over."""
    loop = asyncio.new_event_loop()
    batch: list[Entry[None, object]] = [
        Entry(None, loop.create_future(), 1, Priority.INTERACTIVE, float("inf"), 0.0) for _ in range(batch_size)
    ]
    lane, requests = LaneMeter(BatchPolicy(max_items=64, max_cost=64), "search"), RequestMeter()
    samples = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(repeats):
            lane(batch, batch, 0.001, 0.002)
            for _ in range(batch_size):
                requests("Search", "OK", "", 0.01)
        samples.append(1e6 * (time.perf_counter() - began) / (repeats * batch_size))
    loop.close()
    return summarise(samples)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what metrics and the access log cost.")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; for trying, not for figures")
    parser.add_argument("--out", type=Path, help=f"JSON to write (whole run: {RESULTS.relative_to(ROOT)})")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where the sample index is kept")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
