"""What a server answers in time when it is asked for more than it can do, and what one greedy caller costs the others.

Calls come as a Poisson process at multiples of the rate that the server can do, each with a deadline, from many
callers; latencies count from when a call was to start. Goodput is what is answered before its deadline. A server that
queues whatever comes has none left past saturation: it answers everybody too late. See docs/overload.md.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from harness.facts import environment
from harness.figures import once, percentile, ratios, summarise
from harness.load_plot import plot
from harness.models import ROOT, TOKENIZER, MissingInput, random_bundle
from harness.open_loop import CALLER_HEADER, LATE, OK, UNSENT, Calls, Plan, run
from harness.process import cpu_s, resident_bytes, settle
from harness.report import Line, as_json, table
from harness.server import Served, clipsearch
from harness.wire import BATCH_EMBED
from harness.workload import photographs, queries
from rich.console import Console

from clipsearch.v1 import common_pb2
from clipsearch.v1 import embedding_pb2 as pb

RESULTS = ROOT / "benchmarks" / "results" / "overload.json"
PLOT = ROOT / "docs" / "images" / "overload.png"

MULTIPLES = (0.5, 1.0, 2.0, 5.0, 10.0)
ROUNDS = 3
"""Of all multiples, in turns: what slows the machine for a while would else look like what a load does."""

CALLERS = 40
WORDS = 70
"""Of each text: a context full of tokens, so that what a call costs is the model's work. A machine of two cores could
not send ten times as many calls that cost next to nothing."""

SATURATING = 16
"""Calls in flight while the capacity is measured."""

KEPT = 0.95
"""Of the peak goodput that is left at five times the capacity."""

LAG_SHARE, BUSY_CORES = 0.1, 0.9
"""The generator was the bottleneck where it sent 1 in 100 calls later than this share of the deadline, or used more
than this of a core."""

POLITE, POLITE_LOAD, GREEDY_IN_FLIGHT = 8, 0.4, 200
"""Polite callers, the part of the capacity that they ask for together, and the calls of the greedy one beside them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One load. Rates are per second, of calls whose intended start lies after the warm-up; latencies in ms."""

    offered: float
    goodput: float
    p50_ms: float
    p99_ms: float
    """Of calls that were accepted; those that were not answered by the deadline count as that."""
    late: float
    """Part of the accepted that was not answered by the deadline."""
    outcomes: dict[str, int]
    lag_p99_ms: float
    generator_cores: float
    """Of the busiest process."""
    server_cores: float
    rss_mib: float
    generator_bound: bool


@dataclass(frozen=True, slots=True)
class Bench:
    """A server and how it is loaded."""

    server: Served
    method: str
    bodies: str
    deadline_s: float
    seconds: float
    processes: int
    seed: int

    def measure(self, rate: float, callers: Sequence[str], *, in_flight: int = 0, deadline: bool = True) -> Measured:
        """Offer so many calls a second, or ``in_flight`` at once."""
        return self.together([self.plans(rate, callers, in_flight=in_flight, deadline=deadline)])[0]

    def plans(self, rate: float, callers: Sequence[str], *, in_flight: int = 0, deadline: bool = True) -> list[Plan]:
        """Split a load over the processes."""
        count = 1 if in_flight else self.processes
        return [
            Plan(
                self.server.address,
                self.method,
                self.bodies,
                list(callers),
                rate / count,
                0.0,
                self.seconds,
                self.deadline_s if deadline else 0.0,
                self.seed + number,
                in_flight,
            )
            for number in range(count)
        ]

    def together(self, loads: Sequence[Sequence[Plan]]) -> list[Measured]:
        """Run loads at the same time; what was measured of each, with the server's figures in all of them."""
        settle([self.server.pid])
        begins = time.monotonic() + 1.5  # processes take a while to start
        plans = [Plan(**{**asdict(plan), "begins": begins}) for load in loads for plan in load]
        with _watched(self.server.pid) as watched:
            before, began = cpu_s(self.server.pid), time.monotonic()
            results = run(plans)
            cores = (cpu_s(self.server.pid) - before) / (time.monotonic() - began - 1.5)
        ends = [sum(map(len, loads[: n + 1])) for n in range(len(loads))]
        parts = [results[end - len(load) : end] for end, load in zip(ends, loads, strict=True)]
        return [self._summary(part, cores, max(watched) / 2**20) for part in parts]

    def _summary(self, results: Sequence[Calls], cores: float, rss_mib: float) -> Measured:
        warm_s = self.seconds / 4
        calls = [call for one in results for call in one.calls if call[0] >= warm_s]
        counted_s = self.seconds - warm_s
        outcomes = Counter(outcome for *_, outcome, _ in calls)
        accepted = [
            min(took, self.deadline_s) if outcome == LATE else took
            for _, _, took, outcome, _ in calls
            if outcome in {OK, LATE}
        ]
        lag_s = percentile([lag for _, lag, *_ in calls], 0.99)
        generator_cores = max(one.cpu_s for one in results) / self.seconds
        return Measured(
            offered=len(calls) / counted_s,
            goodput=outcomes[OK] / counted_s,
            p50_ms=1e3 * percentile(accepted, 0.5),
            p99_ms=1e3 * percentile(accepted, 0.99),
            late=outcomes[LATE] / max(1, len(accepted)),
            outcomes=dict(outcomes),
            lag_p99_ms=1e3 * lag_s,
            generator_cores=generator_cores,
            server_cores=cores,
            rss_mib=rss_mib,
            generator_bound=bool(outcomes[UNSENT])
            or lag_s > LAG_SHARE * self.deadline_s
            or generator_cores > BUSY_CORES,
        )


@contextmanager
def _served(bundle: Path, log: Path, flags: Sequence[str]) -> Iterator[Served]:
    """A server on half of the cores; this process and what generates the load have the others from now on.

    Ten times as many calls take as much more of a generator, which would otherwise come out of what is measured.
    """
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    os.sched_setaffinity(0, cores[:half] or cores)
    with clipsearch(bundle, log, flags=flags) as server:
        os.sched_setaffinity(0, cores[half:])
        yield server


@contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """Look at the resident memory five times a second."""
    seen, over = [resident_bytes(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            seen.append(resident_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the result; a hurried run goes to the work directory. Exits with 1 where a model is missing."""
    arguments = _arguments(argv)
    # An exception, so that context managers end the servers; the default action would orphan them.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    facts, work = environment(ROOT), arguments.work.resolve()
    try:
        bundle = arguments.bundle or random_bundle(work, "fp32", 0, arguments.tokenizer.resolve())
    except MissingInput as error:
        sys.exit(f"{error}.")
    document = {"environment": facts, "settings": {"quick": arguments.quick, "seed": 0, "bundle": bundle.name}}
    document |= _measured(arguments, bundle, work)
    out = arguments.out or (work / "overload.json" if arguments.quick else RESULTS)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    plot(document, PLOT if out.resolve() == RESULTS else out.with_suffix(".png"))
    print(f"written to {out}", file=sys.stderr)


def _measured(arguments: argparse.Namespace, bundle: Path, work: Path) -> dict[str, object]:
    console = Console(stderr=True, highlight=False)
    seconds, rounds = (6.0, 1) if arguments.quick else (24.0, ROUNDS)
    bodies = work / "overload-bodies.json"
    bodies.parent.mkdir(parents=True, exist_ok=True)
    messages = _bodies(arguments.input, arguments.per_call)
    bodies.write_text(json.dumps([body.hex() for body in messages]), encoding="utf-8")
    flags = ["--caller-header", CALLER_HEADER]
    with ExitStack() as stack:
        server = stack.enter_context(_served(bundle, work / "logs" / "overload.log", flags))
        deadline_s = arguments.deadline_ms / 1e3
        bench = Bench(server, BATCH_EMBED, str(bodies), deadline_s, seconds, arguments.processes, 0)
        callers = [f"caller {number}" for number in range(CALLERS)]
        capacity = bench.measure(0.0, callers, in_flight=SATURATING, deadline=False).goodput
        console.print(f"capacity {capacity:,.1f}/s", style="dim")
        loads: dict[float, list[Measured]] = {multiple: [] for multiple in MULTIPLES}
        for _ in range(rounds):
            for multiple in MULTIPLES:
                one = bench.measure(multiple * capacity, callers)
                loads[multiple].append(one)
                console.print(_told(f"{multiple:g} x", one), style="bold red" if one.generator_bound else "dim")
        fairness = _fairness(bench, capacity)
        for name, one in fairness.items():
            console.print(_told(name, one), style="bold red" if one.generator_bound else "dim")
    lines = _lines(capacity, loads, fairness, arguments.deadline_ms)
    screen = Console()
    screen.print(table(lines, "overload"), width=None if screen.is_terminal else 140)
    return {
        "input": arguments.input,
        "per_call": arguments.per_call,
        "deadline_ms": arguments.deadline_ms,
        "seconds": seconds,
        "callers": CALLERS,
        "capacity": capacity,
        "lines": as_json(lines),
        "loads": {f"{multiple:g}": [asdict(one) for one in several] for multiple, several in loads.items()},
        "fairness": {name: asdict(one) for name, one in fairness.items()},
    }


def _bodies(kind: str, per_call: int) -> list[bytes]:
    """Interactive calls to embed so many inputs each."""
    if kind == "image":
        inputs = [pb.EmbedInput(image=picture) for picture in photographs(side=256)]
    else:
        inputs = [pb.EmbedInput(text=text) for text in queries(64, 0, WORDS, WORDS)]
    chosen = ([inputs[(n + i) % len(inputs)] for i in range(per_call)] for n in range(0, 64, per_call))
    return [
        pb.BatchEmbedRequest(inputs=some, priority=common_pb2.PRIORITY_INTERACTIVE).SerializeToString()
        for some in chosen
    ]


def _fairness(bench: Bench, capacity: float) -> dict[str, Measured]:
    """Eight polite callers, without and with a greedy one that has 200 calls in flight all the time."""
    polite = bench.plans(POLITE_LOAD * capacity, [f"polite {number}" for number in range(POLITE)])
    greedy = bench.plans(0.0, ["greedy"], in_flight=GREEDY_IN_FLIGHT, deadline=False)
    alone = bench.together([polite])[0]
    beside, of_greedy = bench.together([polite, greedy])
    return {"polite alone": alone, "polite beside greedy": beside, "greedy": of_greedy}


def _told(name: str, one: Measured) -> str:
    refused = ", ".join(f"{count} {outcome}" for outcome, count in sorted(one.outcomes.items()) if outcome != OK)
    bound = "; THE GENERATOR WAS THE BOTTLENECK" if one.generator_bound else ""
    return (
        f"{name}: offered {one.offered:,.0f}/s, in time {one.goodput:,.1f}/s, p50 {one.p50_ms:,.0f} ms, "
        f"p99 {one.p99_ms:,.0f} ms; {refused or 'none refused'}; server {one.server_cores:.2f} cores, "
        f"{one.rss_mib:,.0f} MiB{bound}"
    )


def _lines(
    capacity: float, loads: dict[float, list[Measured]], fairness: dict[str, Measured], deadline_ms: float
) -> list[Line]:
    lines = [Line("goodput", "capacity, calls without a deadline", "/s", once(capacity))]
    goodputs = {multiple: [one.goodput for one in several] for multiple, several in loads.items()}
    # The load with the best median, not the best of each round: a maximum over loads picks the luckiest.
    peaks = max(goodputs.values(), key=median)
    for multiple, several in loads.items():
        name = f"{multiple:g} x capacity"
        of_peak = summarise(ratios(goodputs[multiple], peaks))
        lines += [
            Line("goodput", f"{name}: in time", "/s", summarise(goodputs[multiple])),
            Line("goodput", f"{name}: of the peak", "x", of_peak, KEPT if multiple == 5.0 else None),
            Line(
                "goodput",
                f"{name}: p99 of accepted",
                "ms",
                summarise([one.p99_ms for one in several]),
                deadline_ms,
                "lower",
            ),
            Line("goodput", f"{name}: late, of accepted", "", summarise([one.late for one in several]), 0.01, "lower"),
            Line(
                "goodput",
                f"{name}: resident memory",
                "MiB",
                summarise([one.rss_mib for one in several]),
                better="lower",
            ),
        ]
    alone, beside = fairness["polite alone"], fairness["polite beside greedy"]
    lines += [
        Line("fairness", "polite alone: p99", "ms", once(alone.p99_ms), better="lower"),
        Line("fairness", "polite beside greedy: p99", "ms", once(beside.p99_ms), deadline_ms, "lower"),
        Line("fairness", "polite beside greedy / alone: in time", "x", once(beside.goodput / alone.goodput), 0.95),
    ]
    return lines


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure goodput past saturation, and fairness.")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; for trying, not for figures")
    parser.add_argument("--input", choices=("text", "image"), default="text", help="what the calls embed")
    parser.add_argument("--per-call", type=int, default=4, help="inputs of each call")
    parser.add_argument("--deadline-ms", type=float, default=2000.0, help="of each call")
    parser.add_argument("--processes", type=int, default=2, help="that generate the load")
    parser.add_argument("--bundle", type=Path, help="model to serve; default: a seeded random ViT-B/32, fp32")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory of CLIP's tokenizer")
    parser.add_argument("--out", type=Path, help=f"JSON to write (whole run: {RESULTS.relative_to(ROOT)})")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where models are kept")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
