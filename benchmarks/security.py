"""What safety costs: decoding in other processes, API keys, TLS. Each is compared with going without, in turns.

Pictures are decoded as the server does it, by threads that each use a process of their own or do it themselves; CPU is
that of all processes. Calls are searches by vector with the sample model, the cheapest call there is, so that what is
added to each shows most; the load is a closed loop, as in serving.py.
"""

import argparse
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import trustme
from harness.closed_loop import Measured, drive, spread
from harness.facts import environment
from harness.figures import percentile, ratios, summarise
from harness.models import ROOT, SAMPLE_BUNDLE, sample
from harness.process import cpu_s, settle
from harness.report import Line, publish
from harness.sections.search import by_vector
from harness.server import Served, clipsearch
from harness.wire import SEARCH
from harness.workload import photographs

from clipsearch.access.file import editing
from clipsearch.access.keys import new_key
from clipsearch.access.rates import Rate
from clipsearch.access.scopes import Scope
from clipsearch.client import tls_credentials
from clipsearch.encoders.isolation import IsolatedPreprocessor, PictureBudget, memory_for
from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.preprocess import ImageLimits, PillowPreprocessor
from clipsearch.ports import Pixels

RESULTS = ROOT / "benchmarks" / "results" / "security.json"
IN_FLIGHT = 32
SIDES = (224, 512, 1024)
"""Sides of the square JPEGs that are decoded, in pixels."""

Decode = Callable[[bytes], Pixels]


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's turn at decoding. CPU is per picture, of all processes, in steps of 10 ms over the turn."""

    rate: float
    p50_ms: float
    cpu_ms: float


def decoding(rounds: int, seconds: float, threads: int) -> list[Line]:
    """Rate with ``threads`` at once, latency of one at a time, and CPU, of both ways to decode."""
    rule, limits = load_bundle(SAMPLE_BUNDLE).manifest.preprocess, ImageLimits()
    # As the towers take them; the sample model's own are too small to be like anybody else's.
    size = 224
    rule = type(rule)(**{**asdict(rule), "shortest_edge": size, "crop_size": (size, size)})
    isolated = IsolatedPreprocessor(rule, size, limits, PictureBudget(10.0, memory_for(limits.max_pixels)))
    isolated.start(threads)
    ways: dict[str, Decode] = {"in threads": PillowPreprocessor(rule, size, limits), "in processes": isolated}
    lines: list[Line] = []
    try:
        for side in SIDES:
            pictures = photographs(side)
            turns: dict[str, list[Turn]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    turns[name].append(_turn(way, pictures, seconds, threads, isolated.pids))
            lines += _decoding_lines(f"{side} x {side} JPEG", turns)
    finally:
        isolated.close()
    return lines


def _turn(decode: Decode, pictures: Sequence[bytes], seconds: float, threads: int, pids: Sequence[int]) -> Turn:
    before = _cpu_s(pids)
    alone = list(_timed(decode, pictures, seconds / 2))
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        done = sum(pool.map(lambda _: sum(1 for _ in _timed(decode, pictures, seconds / 2)), range(threads)))
        rate = done / (time.perf_counter() - started)
    cpu_ms = (_cpu_s(pids) - before) * 1e3 / (done + len(alone))
    return Turn(rate, percentile(alone, 0.5) * 1e3, cpu_ms)


def _timed(decode: Decode, pictures: Sequence[bytes], seconds: float) -> Iterator[float]:
    """Seconds that each picture takes, one after the other, for so long."""
    ends = time.perf_counter() + seconds
    number = 0
    while (started := time.perf_counter()) < ends:
        decode(pictures[number % len(pictures)])
        number += 1
        yield time.perf_counter() - started


def _cpu_s(pids: Sequence[int]) -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + sum(map(cpu_s, pids))


def _decoding_lines(what: str, turns: dict[str, list[Turn]]) -> list[Line]:
    lines = []
    for name, each in turns.items():
        lines += [
            Line(what, f"{name}: pictures/s", "", summarise([turn.rate for turn in each])),
            Line(what, f"{name}: one alone, p50", "ms", summarise([turn.p50_ms for turn in each]), better="lower"),
            Line(what, f"{name}: CPU per picture", "ms", summarise([turn.cpu_ms for turn in each]), better="lower"),
        ]
    own, others = turns.values()
    rate = ratios([turn.rate for turn in others], [turn.rate for turn in own])
    p50 = ratios([turn.p50_ms for turn in others], [turn.p50_ms for turn in own])
    cpu = ratios([turn.cpu_ms for turn in others], [turn.cpu_ms for turn in own])
    return [
        *lines,
        Line(what, "processes / threads, pictures/s", "x", summarise(rate)),
        Line(what, "processes / threads, p50", "x", summarise(p50), better="lower"),
        Line(what, "processes / threads, CPU", "x", summarise(cpu), better="lower"),
    ]


@dataclass(frozen=True, slots=True)
class Side:
    """A server and the headers to call it with."""

    served: Served
    headers: Mapping[str, str] = field(default_factory=dict)


def calls(rounds: int, seconds: float, work: Path) -> list[Line]:
    """Searches by vector without and with keys, with a key that has a rate, and over TLS as well."""
    ready = sample(work, SAMPLE_BUNDLE, 600, 0)
    dimension = load_bundle(ready.bundle).manifest.dimension
    with ExitStack() as stack:
        bodies = by_vector(dimension, 0, IN_FLIGHT)
        sides = stack.enter_context(_sides(work, ready.bundle, ready.data))
        runs: dict[str, list[Measured]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                settle([side.served.pid])
                load = spread(IN_FLIGHT, seconds, 0.5)
                runs[name].append(drive(side.served.url(SEARCH), bodies, load, side.served.pid, side.headers))
    lines = []
    for name, each in runs.items():
        lines.append(Line("search by vector", f"{name}: calls/s", "", summarise([run.rate for run in each])))
        cpu = summarise([run.server_us for run in each])
        lines.append(Line("search by vector", f"{name}: CPU per call", "µs", cpu, better="lower"))
    open_runs = runs.pop("open")
    for name, each in runs.items():
        added = [run.server_us - bare.server_us for run, bare in zip(each, open_runs, strict=True)]
        lines.append(Line("search by vector", f"{name}: CPU added", "µs", summarise(added), better="lower"))
    return lines


@contextmanager
def _sides(work: Path, bundle: Path, data: Path) -> Iterator[dict[str, Side]]:
    keys, ca, cert, key = (work / name for name in ("keys.json", "ca.pem", "server.pem", "server.key"))
    keys.unlink(missing_ok=True)
    headers = []
    with editing(keys) as known:
        for rate in (None, Rate(1e9, 1e9)):
            whole, made = new_key("bench", [Scope.READ], rate, "now")
            known.append(made)
            headers.append({"authorization": f"Bearer {whole}"})
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(ca)
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    tls = ("--tls-cert", str(cert), "--tls-key", str(key))
    guarded = ("--keys-file", str(keys))
    with ExitStack() as stack:

        def serve(name: str, flags: Sequence[str], credentials: grpc.ChannelCredentials | None = None) -> Served:
            # Of their own each: a data directory is one server's. Vectors are few, so nothing is copied that counts.
            own = work / f"data-of-{name}"
            if not own.exists():
                shutil.copytree(data, own)
            log = work / "logs" / f"security-{name}.log"
            return stack.enter_context(clipsearch(bundle, log, data=own, flags=flags, credentials=credentials))

        keyed = serve("keys", guarded)
        yield {
            "open": Side(serve("open", ())),
            "keys": Side(keyed, headers[0]),
            "keys with rates": Side(keyed, headers[1]),
            "TLS": Side(serve("tls", tls, tls_credentials(ca=ca))),
            "TLS and keys": Side(serve("both", (*tls, *guarded), tls_credentials(ca=ca)), headers[0]),
        }


def main() -> None:
    """Measure, print a table and write the figures."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description="Measure what decoding in other processes, API keys and TLS cost.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--threads", type=int, default=2, help="that decode at once")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    arguments.work.mkdir(parents=True, exist_ok=True)
    lines = decoding(arguments.rounds, arguments.seconds, arguments.threads)
    lines += calls(arguments.rounds, arguments.seconds, arguments.work.resolve())
    settings = {"rounds": arguments.rounds, "seconds": arguments.seconds, "threads": arguments.threads}
    publish(lines, "what safety costs", facts, settings, arguments.out)


if __name__ == "__main__":
    main()
