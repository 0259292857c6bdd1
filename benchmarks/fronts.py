"""What a front process is worth: servers with one and without, in turns under the same load.

Searches on the sample model show the server, a lone caller its latency (a rate of n is one call in 1/n seconds), and an
int8 ViT-B/32 what is left of it beside an encoder of ordinary size. See docs/decisions/0011-fronts.md.
"""

import signal
import sys
from pathlib import Path

import psutil
from harness.closed_loop import Load, spread
from harness.contest import Work, compared, servers
from harness.facts import environment
from harness.figures import summarise
from harness.models import ROOT, SAMPLE_BUNDLE, random_bundle, sample
from harness.process import family
from harness.report import Line, publish
from harness.sections.search import by_text, by_vector, texts
from harness.turns import options
from harness.wire import EMBED_TEXT, SEARCH, frame
from harness.workload import queries

from clipsearch.encoders.manifest import load_bundle
from clipsearch.v1 import embedding_pb2

RESULTS = ROOT / "benchmarks" / "results" / "fronts.json"
KINDS = {"without": ("--fronts", "0"), "one front": ("--fronts", "1")}
IN_FLIGHT = (16, 64, 256)


def of_the_server(rounds: int, seconds: float, work: Path) -> list[Line]:
    """Searches on the sample model, many at once and one after the other."""
    ready = sample(work, SAMPLE_BUNDLE, 6000, 0)
    spoken = [by_text(text) for text in texts(0, IN_FLIGHT[-1])]
    vectors = by_vector(load_bundle(ready.bundle).manifest.dimension, 0, IN_FLIGHT[-1])
    works = [
        Work(f"search by {what}, {in_flight} in flight", SEARCH, bodies, spread(in_flight, seconds, 0.5))
        for in_flight in IN_FLIGHT
        for what, bodies in (("text", spoken), ("vector", vectors))
    ]
    works += [
        Work(f"search by {what}, one after the other", SEARCH, bodies[:1], Load(1, 1, seconds, 0.5))
        for what, bodies in (("text", spoken), ("vector", vectors))
    ]
    with servers(KINDS, ready.bundle, work, ready.data) as running:
        lines = [line for each in works for line in compared(running, each, rounds)]
        own = [one.memory_full_info().uss / 2**20 for one in family(running["one front"].pid) if _is_front(one)]
        return [*lines, Line("a front, after these", "its own memory", "MiB", summarise(own), better="lower")]


def _is_front(process: psutil.Process) -> bool:
    return any("front" in part for part in process.cmdline())


def beside_an_encoder(rounds: int, seconds: float, work: Path, tokenizer: Path) -> list[Line]:
    """Texts to an int8 ViT-B/32."""
    bundle = random_bundle(work, "int8", 0, tokenizer)
    bodies = [frame(embedding_pb2.EmbedTextRequest(text=text)) for text in queries(64, 0)]
    works = [
        Work("texts to int8 ViT-B/32, 64 in flight", EMBED_TEXT, bodies, spread(64, seconds, 1.0)),
        Work("texts to int8 ViT-B/32, one after the other", EMBED_TEXT, bodies[:1], Load(1, 1, seconds, 0.5)),
    ]
    with servers(KINDS, bundle, work) as running:
        return [line for each in works for line in compared(running, each, rounds)]


def main() -> None:
    """Measure, print a table and write the figures."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    given = options("Measure what a front process is worth.", RESULTS, seconds=3.0)
    facts = environment(ROOT)
    lines = of_the_server(given.rounds, given.seconds, given.work)
    lines += beside_an_encoder(given.rounds, given.seconds, given.work, given.tokenizer)
    settings = {"rounds": given.rounds, "seconds": given.seconds}
    publish(lines, "front processes", facts, settings, given.out)


if __name__ == "__main__":
    main()
