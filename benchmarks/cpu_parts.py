"""Where the processor time of a call goes, by the parts of the server, and beside it what gRPC alone takes.

    python benchmarks/cpu_parts.py

The parts are those of the metric ``clipsearch_cpu_seconds_total``; what is left of all the server's processes are the
threads of ONNX Runtime and FAISS, and where there are no fronts, those of gRPC. The model is the sample model, so that
the server is seen rather than an encoder. Kinds of calls take turns; a bare grpc.aio servicer that returns ten fixed
hits is one of them. See docs/tuning.md.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.closed_loop import drive, spread
from harness.facts import environment
from harness.figures import summarise
from harness.models import ROOT, SAMPLE_BUNDLE, sample
from harness.process import cpu_s, free_port, settle
from harness.report import Line, publish
from harness.sections.search import by_text, by_vector, texts
from harness.server import Served, bare, clipsearch
from harness.wire import EMBED_IMAGE, EMBED_TEXT, GET_MODEL, SEARCH, frame
from harness.workload import photographs
from rich.console import Console

from clipsearch.cli.scrape import Scrape, scrape
from clipsearch.encoders.manifest import load_bundle
from clipsearch.v1 import embedding_pb2

RESULTS: Final = ROOT / "benchmarks" / "results" / "cpu_parts.json"
CPU: Final = "clipsearch_cpu_seconds_total"
SETTLED_S: Final = 0.5
"""The event loop notes its time four times a second."""

IN_FLIGHT: Final = 64
OTHERS: Final = "other threads"
WHOLE: Final = "all"


@dataclass(frozen=True, slots=True)
class Kind:
    """Calls of one kind, to a server with metrics or, without an address of these, to one process seen as a whole."""

    name: str
    server: Served
    method: str
    bodies: list[bytes]
    metrics: str | None

    def cost_us(self, seconds: float) -> dict[str, float]:
        """Drive the server; returns the processor time of a call by part, in microseconds."""
        load = spread(IN_FLIGHT, seconds, 0.5)
        settle([self.server.pid])
        if self.metrics is None:
            return {WHOLE: drive(self.server.url(self.method), self.bodies, load, self.server.pid).server_us}
        before = self._look(self.metrics)
        drive(self.server.url(self.method), self.bodies, load, self.server.pid)
        after = self._look(self.metrics)
        calls = after["calls"] - before["calls"]
        costs = {part: 1e6 * (after[part] - before[part]) / calls for part in after if part != "calls"}
        return {**costs, OTHERS: costs[WHOLE] - sum(cost for part, cost in costs.items() if part != WHOLE)}

    def _look(self, metrics: str) -> dict[str, float]:
        time.sleep(SETTLED_S)
        seen = scrape(metrics)
        parts = {part: seen.total(CPU, part=part) for part in seen.labels(CPU, "part")}
        return {"calls": _calls(seen), **parts, WHOLE: cpu_s(self.server.pid)}


def _calls(seen: Scrape) -> float:
    return seen.total("clipsearch_requests_total", code="OK")


def measure(rounds: int, seconds: float, work: Path, console: Console) -> list[Line]:
    """Take turns; returns the figures."""
    costs: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        kinds = list(_kinds(stack, work))
        for number in range(rounds):
            for kind in kinds:
                costs.setdefault(kind.name, []).append(kind.cost_us(seconds))
            console.print(f"round {number + 1} of {rounds}")
    return [
        Line(name, part.replace("_", " "), "µs", summarise([one[part] for one in each]), better="lower")
        for name, each in costs.items()
        for part in each[0]
        if max(one[part] for one in each) >= 1.0
    ]


def _kinds(stack: ExitStack, work: Path) -> Iterator[Kind]:
    ready = sample(work, SAMPLE_BUNDLE, 6000, 0)
    metrics = f"127.0.0.1:{free_port()}"
    flags = ("--metrics-listen", metrics)
    server = stack.enter_context(
        clipsearch(ready.bundle, work / "logs" / "cpu-parts.log", data=ready.data, flags=flags)
    )
    alone = stack.enter_context(bare(work / "logs" / "cpu-parts-bare.log"))
    spoken = texts(0, IN_FLIGHT)
    vectors = by_vector(load_bundle(ready.bundle).manifest.dimension, 0, IN_FLIGHT)

    yield Kind("bare servicer", alone, SEARCH, vectors, None)
    yield Kind("GetModel", server, GET_MODEL, [frame(embedding_pb2.GetModelRequest())], metrics)
    embed = [frame(embedding_pb2.EmbedTextRequest(text=text)) for text in spoken]
    yield Kind("EmbedText", server, EMBED_TEXT, embed, metrics)
    yield Kind("Search by vector", server, SEARCH, vectors, metrics)
    yield Kind("Search by text", server, SEARCH, [by_text(text) for text in spoken], metrics)
    pictures = [frame(embedding_pb2.EmbedImageRequest(image=picture)) for picture in photographs()]
    yield Kind("EmbedImage, JPEG of 512 x 512", server, EMBED_IMAGE, pictures, metrics)


def main() -> None:
    """Measure, print a table and write the figures."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description="Measure where the processor time of a call goes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    arguments.work.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, highlight=False, style="dim")
    lines = measure(arguments.rounds, arguments.seconds, arguments.work.resolve(), console)
    settings = {"rounds": arguments.rounds, "seconds": arguments.seconds, "in_flight": IN_FLIGHT}
    publish(lines, "processor time of a call", facts, settings, arguments.out)


if __name__ == "__main__":
    main()
