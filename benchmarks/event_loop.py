"""What the event loop and the garbage collector cost a call: uvloop beside asyncio, and a collection of all objects.

Both are a process's own choices, so servers of each kind take turns under the same load. See
docs/decisions/0008-event-loop.md.
"""

import argparse
import asyncio
import gc
import signal
import sys
import time
from pathlib import Path

from harness.closed_loop import spread
from harness.contest import Work, compared, servers
from harness.facts import environment
from harness.figures import summarise
from harness.models import ROOT, SAMPLE_BUNDLE, sample
from harness.report import Line, publish
from harness.sections.search import by_text, by_vector, texts
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
    load = spread(64, seconds, 0.5)
    queries = {
        "text": [by_text(text) for text in texts(0, load.in_flight)],
        "vector": by_vector(dimension, 0, load.in_flight),
    }
    with servers({kind: ("--event-loop", kind) for kind in KINDS}, ready.bundle, work, ready.data) as running:
        return [
            line
            for what, bodies in queries.items()
            for line in compared(running, Work(f"search by {what}", SEARCH, bodies, load), rounds)
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
