"""`make bench`: a server, load in steps up to and beyond what it can do, and a report.

    python -m benchmarks.load.run [--quick] [--user MixUser] [--out DIR] [--server HOST:PORT --metrics HOST:PORT]

First a closed loop finds what the server can do; then open loops offer parts and multiples of that. Each step is a run
of Locust, so what is measured here is what Locust measures by hand. Writes load.json and load.html. Exits with 3 where
the generator was the bottleneck below the server's capacity, 1 where something fails.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.harness.facts import environment
from benchmarks.harness.models import ROOT, SAMPLE_BUNDLE, sample
from benchmarks.harness.process import free_port
from benchmarks.harness.server import clipsearch
from benchmarks.load.measuring import BOUND_STATUS
from benchmarks.load.report import html
from benchmarks.load.summary import all_errors, batches_between, step_of, within_objective
from clipsearch.cli.scrape import scrape
from clipsearch.encoders.manifest import load_bundle

LOCUSTFILE: Final = ROOT / "benchmarks" / "locustfile.py"
MULTIPLES: Final = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
QUICK_MULTIPLES: Final = (0.25, 0.5, 0.8)
SATURATING_USERS: Final = 24
SOURCES: Final = 8
"""Users of an open loop, each a caller with a connection of its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load: its address, that of its metrics, and the size of its vectors."""

    address: str
    metrics: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Bench:
    """How it is loaded."""

    target: Target
    user: str
    arrivals: str
    processes: int
    seconds: float
    work: Path
    more: Sequence[str]

    def step(self, *, users: int, rate: float | None) -> dict[str, Any]:
        """Run one step, of ``rate`` calls a second together or of a closed loop; returns its figures."""
        record = self.work / "record.json"
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
        command += ["--host", self.target.address, "-u", str(users), "-r", str(users), "-t", f"{self.seconds:g}s"]
        command += ["--record", str(record), "--vector-size", str(self.target.dimension), *self.more]
        if rate is None:
            command += ["--arrivals", "closed"]
        else:
            command += ["--arrivals", self.arrivals, "--rate", str(rate / users)]
        if self.processes > 1:
            command += ["--processes", str(self.processes)]
        before = scrape(self.target.metrics)
        done = subprocess.run([*command, self.user], cwd=ROOT, capture_output=True, text=True, check=False)
        # 1 says that calls failed, which the record has.
        if done.returncode not in {0, 1, BOUND_STATUS} or not record.exists():
            raise RuntimeError(f"Locust ended with {done.returncode}:\n{done.stderr[-2000:]}")
        figures = step_of(json.loads(record.read_text(encoding="utf-8")), self.seconds)
        record.unlink()
        figures["batches"] = batches_between(before, scrape(self.target.metrics))
        return figures


@contextmanager
def _served(work: Path) -> Iterator[Target]:
    """The sample model with its catalogue, in a process of its own."""
    ready = sample(work, SAMPLE_BUNDLE, 6000, 0)
    metrics = f"127.0.0.1:{free_port()}"
    with clipsearch(
        ready.bundle, work / "logs" / "load.log", data=ready.data, flags=["--metrics-listen", metrics]
    ) as served:
        yield Target(served.address, metrics, load_bundle(ready.bundle).manifest.dimension)


def measure(bench: Bench, multiples: Sequence[float]) -> dict[str, Any]:
    """Find the capacity, then run the steps."""
    saturated = bench.step(users=SATURATING_USERS, rate=None)
    capacity = saturated["answered"]
    _say(f"closed loop, {SATURATING_USERS} users", saturated)
    steps = []
    for multiple in multiples:
        step = bench.step(users=SOURCES, rate=multiple * capacity)
        steps.append({"multiple": multiple, **step})
        _say(f"{multiple:g} x", step)
    return {"capacity": capacity, "closed": saturated, "steps": steps}


def _say(name: str, step: dict[str, Any]) -> None:
    latency = step["latency_ms"]
    signs = "; ".join(step["generator_bound"])
    bound = f"; THE GENERATOR WAS THE BOTTLENECK: {signs}" if signs else ""
    print(
        f"{name}: offered {step['offered']:,.1f}/s, answered {step['answered']:,.1f}/s, "
        f"p50 {latency.get('50', 0):,.1f} ms, p99 {latency.get('99', 0):,.1f} ms, "
        f"{100 * step['failed_share']:.2f} % failed{bound}",
        file=sys.stderr,
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """See the module's text."""
    arguments, more = _arguments(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = environment(ROOT)
    if arguments.server:
        given = Target(arguments.server, arguments.metrics, arguments.dimension)
        found = _measured(arguments, given, more)
    else:
        with _served(arguments.work.resolve()) as target:
            found = _measured(arguments, target, more)
    settings = {name: str(value) for name, value in vars(arguments).items() if name not in {"out", "work"}}
    objective = within_objective(found["steps"], arguments.slo_ms)
    document = {
        "environment": facts,
        "settings": {**settings, "locust": list(more)},
        "objective_ms": arguments.slo_ms,
        "within_objective": objective,
        **found,
    }
    (arguments.out / "load.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "load.html").write_text(html(document), encoding="utf-8")
    rate = "no step" if objective is None else f"{objective:,.1f}/s"
    print(f"with p99 within {arguments.slo_ms:g} ms and less than 0.1 % failed: {rate}")
    for error, count in all_errors(found["steps"]).most_common():
        print(f"{count} x {error}")
    print(f"written to {arguments.out}/load.json and load.html")
    if any(step["generator_bound"] for step in found["steps"] if step["multiple"] < 1.0):
        sys.exit(BOUND_STATUS)


def _measured(arguments: argparse.Namespace, target: Target, more: Sequence[str]) -> dict[str, Any]:
    seconds = 4.0 if arguments.quick else arguments.seconds
    bench = Bench(target, arguments.user, arguments.arrivals, arguments.processes, seconds, arguments.out, more)
    return measure(bench, QUICK_MULTIPLES if arguments.quick else MULTIPLES)


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description="Load a server in steps; options of Locust's users are passed on.")
    parser.add_argument("--quick", action="store_true", help="short steps, and few; for trying, not for figures")
    parser.add_argument("--user", default="MixUser", help="the class of users")
    parser.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson", help="of the steps")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each step")
    parser.add_argument("--processes", type=int, default=1, help="that generate the load")
    parser.add_argument("--slo-ms", type=float, default=100.0, help="the objective for p99")
    parser.add_argument("--server", help="a server that runs already, HOST:PORT; default: one of the sample model")
    parser.add_argument("--metrics", help="where its metrics are, HOST:PORT")
    parser.add_argument("--dimension", type=int, default=512, help="of its vectors")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "load", help="directory of the results")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where the sample is kept")
    arguments, more = parser.parse_known_args(argv)
    if bool(arguments.server) != bool(arguments.metrics):
        parser.error("--server and --metrics go together")
    return arguments, more


if __name__ == "__main__":
    main()
