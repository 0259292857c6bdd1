"""What the event loop and the garbage collector cost a call: uvloop beside asyncio, and a collection of all objects.

Both are a process's own choices, so servers of each kind take turns under the same load. See
docs/decisions/0008-event-loop.md.
"""

import argparse
import asyncio
import gc
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from harness.facts import environment
from harness.figures import ratios, summarise
from harness.h2load import Load, Measured, bodies_on_disk, drive
from harness.models import ROOT, SAMPLE_BUNDLE, sample
from harness.process import settle
from harness.report import Line, publish
from harness.sections.search import by_text, by_vector, texts
from harness.server import Served, clipsearch
from harness.wire import SEARCH

from clipsearch import garbage
from clipsearch.app import App
from clipsearch.encoders.manifest import load_bundle
from clipsearch.settings import Settings

RESULTS = ROOT / "benchmarks" / "results" / "event_loop.json"
KINDS = ("asyncio", "uvloop")


def calls(rounds: int, seconds: float, work: Path) -> list[Line]:
    """Searches by text and by vector on servers that differ in their event loop only."""
    ready = sample(work, SAMPLE_BUNDLE, 600, 0)
    dimension = load_bundle(ready.bundle).manifest.dimension
    lines = []
    with ExitStack() as stack:
        queries = {"text": [by_text(text) for text in texts(0)], "vector": by_vector(dimension, 0)}
        bodies = {kind: stack.enter_context(bodies_on_disk(made)) for kind, made in queries.items()}
        servers: dict[str, Served] = {}
        for kind in KINDS:
            # Of their own each: a data directory is one server's.
            own = work / f"data-of-{kind}"
            if not own.exists():
                shutil.copytree(ready.data, own)
            log = work / "logs" / f"event-loop-{kind}.log"
            server = clipsearch(ready.bundle, log, data=own, flags=("--event-loop", kind))
            servers[kind] = stack.enter_context(server)
        for what, files in bodies.items():
            runs: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
            for _ in range(rounds):
                for kind, server in servers.items():
                    settle([server.pid])
                    load = Load(clients=1, streams=16, seconds=seconds, warm_up_s=0.5)
                    runs[kind].append(drive(server.url(SEARCH), files, load, server.pid))
            lines += _compared(f"search by {what}", runs)
    return lines


def _compared(what: str, runs: dict[str, list[Measured]]) -> list[Line]:
    lines = []
    for kind, each in runs.items():
        lines.append(Line(what, f"{kind}: calls/s", "", summarise([run.rate for run in each])))
        cpu = summarise([run.server_us for run in each])
        lines.append(Line(what, f"{kind}: CPU per call", "µs", cpu, better="lower"))
    before, after = (runs[kind] for kind in KINDS)
    rate = ratios([run.rate for run in after], [run.rate for run in before])
    cpu = summarise(ratios([run.server_us for run in after], [run.server_us for run in before]))
    return [
        *lines,
        Line(what, "uvloop / asyncio: calls/s", "x", summarise(rate)),
        Line(what, "uvloop / asyncio: CPU per call", "x", cpu, better="lower"),
    ]


async def collections(rounds: int) -> list[Line]:
    """How long a collection of everything holds up a warm server, with and without what stays."""
    app = App(Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu"))
    await app.start()
    try:
        gc.collect()
        before = [_collected_ms() for _ in range(rounds)]
        young = gc.get_threshold()
        garbage.spare_what_stays()
        after = [_collected_ms() for _ in range(rounds)]
        gc.set_threshold(*young)
        gc.unfreeze()
    finally:
        await app.stop()
    return [
        Line("collection of all", "Python's own way", "ms", summarise(before), better="lower"),
        Line("collection of all", "without what stays", "ms", summarise(after), better="lower"),
    ]


def _collected_ms() -> float:
    started = time.perf_counter()
    gc.collect()
    return 1e3 * (time.perf_counter() - started)


def main() -> None:
    """Measure, print a table and write the figures."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description="Measure what the event loop and the garbage collector cost a call.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    arguments.work.mkdir(parents=True, exist_ok=True)
    lines = [*calls(arguments.rounds, arguments.seconds, arguments.work.resolve())]
    lines += asyncio.run(collections(arguments.rounds))
    settings = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    publish(lines, "event loop and collector", facts, settings, arguments.out)


if __name__ == "__main__":
    main()
