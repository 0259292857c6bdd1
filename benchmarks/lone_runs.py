"""How long a lone text takes to encode after a pause, by how the threads of its run wait and where they are.

    python benchmarks/lone_runs.py

Sessions of a ViT-B/32's text tower take turns: with helpers that spin, on CPUs of their own as the server has them, or
wherever the system puts them; with helpers that sleep between operators; and without helpers. See
docs/decisions/0016-cores-of-lone-runs.md.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from harness.facts import environment
from harness.figures import percentile, summarise
from harness.models import ROOT, MissingInput, random_bundle
from harness.report import Line, publish
from harness.turns import options
from numpy.typing import NDArray
from packing import texts

from clipsearch.encoders import cores
from clipsearch.encoders.manifest import Precision, load_bundle
from clipsearch.encoders.packing import every_place
from clipsearch.encoders.runtime import CPU, open_session
from clipsearch.lanes import MOST_LONE_THREADS

RESULTS = ROOT / "benchmarks" / "results" / "lone_runs.json"
TOKENS = (6, 8, 10, 12, 14)
PAUSES_S = (0.0, 0.002, 0.02)
"""What a caller who waits for every answer leaves, one on the same machine, and somebody who comes now and then."""
UNCOUNTED = 5
"""Calls of a turn that only bring it to its pace."""

Feed = Mapping[str, NDArray[np.int64]]
Run = Callable[[Feed], object]
"""Encodes one text."""


def ways(graph: Path, threads: int) -> dict[str, Run]:
    """Return how a run may be computed, by name, each on a session of its own."""
    own, *helpers = cores.dealt(threads)
    open_one = partial(open_session, graph, {CPU: {}})
    pinned, anywhere = open_one(threads, spin=True, helpers=helpers), open_one(threads, spin=True)
    asleep, alone = open_one(threads), open_one(1)

    def kept_to(feed: Feed) -> object:
        with cores.kept_to(own):
            return pinned.run(None, feed)

    return {
        "spinning, on their own CPUs": kept_to,
        "spinning, anywhere": partial(anywhere.run, None),
        "sleeping, anywhere": partial(asleep.run, None),
        "no helpers": partial(alone.run, None),
    }


def one_text(tokens: int) -> Feed:
    """Draw a text of so many tokens."""
    ids = texts([tokens], np.random.default_rng(tokens))
    return {"ids": ids, **every_place(*ids.shape)}


def latencies_ms(run: Run, pause_s: float, seconds: float) -> list[float]:
    """Return how long calls took, one after the other with a pause before each, for so many seconds."""
    feeds = [one_text(tokens) for tokens in TOKENS]
    took, until, count = [], time.monotonic() + seconds, 0
    while time.monotonic() < until or count <= UNCOUNTED:
        if pause_s:
            time.sleep(pause_s)
        began = time.perf_counter()
        run(feeds[count % len(feeds)])
        if count >= UNCOUNTED:
            took.append(1e3 * (time.perf_counter() - began))
        count += 1
    return took


def measure(precision: Precision, graph: Path, threads: int, rounds: int, seconds: float) -> list[Line]:
    """Return medians and ninth deciles over rounds, by way and pause."""
    lines = []
    running = ways(graph, threads)
    for pause_s in PAUSES_S:
        p50: dict[str, list[float]] = {way: [] for way in running}
        p90: dict[str, list[float]] = {way: [] for way in running}
        for number in range(rounds):
            for way in list(running)[:: 1 if number % 2 == 0 else -1]:
                took = latencies_ms(running[way], pause_s, seconds)
                p50[way].append(percentile(took, 0.5))
                p90[way].append(percentile(took, 0.9))
        section = f"{precision}, after {1e3 * pause_s:g} ms" if pause_s else f"{precision}, without a pause"
        for way in running:
            lines.append(Line(section, f"{way}: p50", "ms", summarise(p50[way]), better="lower"))
            lines.append(Line(section, f"{way}: p90", "ms", summarise(p90[way]), better="lower"))
        print(section, file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Measure, show and write."""
    given = options("Measure lone runs after pauses.", RESULTS, seconds=1.5)
    facts = environment(ROOT)
    threads = min(MOST_LONE_THREADS, len(os.sched_getaffinity(0)))
    lines = []
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    try:
        for precision in precisions:
            bundle = load_bundle(random_bundle(given.work, precision, 0, given.tokenizer))
            lines += measure(precision, bundle.text_graph, threads, given.rounds, given.seconds)
    except MissingInput as error:
        sys.exit(f"{error}.")
    settings = {"threads": threads, "rounds": given.rounds, "seconds": given.seconds}
    publish(lines, "lone runs", facts, settings, given.out)


if __name__ == "__main__":
    main()
