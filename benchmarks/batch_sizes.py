"""What batches of some size are worth to those who wait for them, and what they cost.

    python benchmarks/batch_sizes.py

Servers of an int8 ViT-B/32 with the batches that are the default, with smaller and with larger ones, in turns: how much
each does at saturation, and how long calls take that come at random at four fifths of that. See
docs/decisions/0013-batch-sizes.md.
"""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from google.protobuf.message import Message
from harness.closed_loop import drive, spread
from harness.contest import Work, servers
from harness.facts import environment
from harness.figures import percentile, ratios, summarise
from harness.models import ROOT, MissingInput, random_bundle
from harness.open_loop import OK, Plan, run
from harness.process import settle
from harness.report import Line, publish
from harness.server import Served
from harness.turns import options
from harness.wire import EMBED_IMAGE, EMBED_TEXT, frame
from harness.workload import photographs, queries

from clipsearch.v1 import embedding_pb2 as pb

RESULTS = ROOT / "benchmarks" / "results" / "batch_sizes.json"
TEXTS = 64
"""As many different ones as are in flight: what is the same in a batch may be computed once."""
PICTURES = 32
"""In flight."""
OTHERS = {
    "smaller": ("--text-batch-tokens", "96", "--image-batch-items", "2"),
    "larger": ("--text-batch-tokens", "512", "--text-batch-items", "64", "--image-batch-items", "8"),
}
SHARE = 0.8
"""Of the median capacity of a round, at which calls come: the same rate for all."""
LEAD_S, STARTS_S, DEADLINE_S = 0.5, 1.5, 10.0
"""What is not counted of a loop that begins on an idle server; how long a generator takes to start; of every call."""


@dataclass(slots=True)
class Samples:
    """What one kind of server did, a figure for each round."""

    capacity: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


def works() -> list[Work]:
    """Return the kinds of calls, as they are made at saturation."""
    texts: list[Message] = [pb.EmbedTextRequest(text=text) for text in queries(TEXTS, 0)]
    pictures: list[Message] = [pb.EmbedImageRequest(image=data) for data in photographs()]
    return [
        Work("texts", EMBED_TEXT, [frame(text) for text in texts], spread(TEXTS, 3.0, 1.0)),
        Work("pictures", EMBED_IMAGE, [frame(picture) for picture in pictures], spread(PICTURES, 3.0, 1.0)),
    ]


def at_both_loads(running: Mapping[str, Served], given: Work, rounds: int, seconds: float) -> list[Line]:
    """Let all take turns under one kind of call, saturated and for ``seconds`` below that."""
    found = {kind: Samples() for kind in running}
    with tempfile.TemporaryDirectory() as scratch:
        bodies = Path(scratch) / "bodies.json"
        bodies.write_text(json.dumps([body[5:].hex() for body in given.bodies]))
        for number in range(rounds):
            order = list(running)[:: 1 if number % 2 == 0 else -1]
            for kind in order:
                settle([running[kind].pid])
                measured = drive(running[kind].url(given.method), given.bodies, given.load, running[kind].pid)
                found[kind].capacity.append(measured.rate)
            rate = SHARE * median(one.capacity[-1] for one in found.values())
            for kind in order:
                took_ms = latencies_ms(running[kind], given.method, bodies, rate=rate, seconds=seconds, seed=number)
                found[kind].p50_ms.append(percentile(took_ms, 0.5))
                found[kind].p99_ms.append(percentile(took_ms, 0.99))
            print(f"{given.name}, round {number + 1}", file=sys.stderr, flush=True)
    return lines(given.name, found)


def latencies_ms(server: Served, method: str, bodies: Path, *, rate: float, seconds: float, seed: int) -> list[float]:
    """Return how long calls took that came at random; raises RuntimeError where one failed."""
    settle([server.pid])
    plan = Plan(
        server.address, method, str(bodies), ["one"], rate, time.monotonic() + STARTS_S, LEAD_S + seconds,
        DEADLINE_S, seed,
    )  # fmt: skip
    calls = run([plan])[0].calls
    failed = sorted({outcome for *_, outcome, _ in calls if outcome != OK})
    if failed:
        raise RuntimeError(f"calls ended with {', '.join(failed)}")
    return [1e3 * took_s for at, _, took_s, _, _ in calls if at >= LEAD_S]


def lines(section: str, found: Mapping[str, Samples]) -> list[Line]:
    """Return each one's figures, and those of the default over the others'."""
    result = []
    for kind, one in found.items():
        result += [
            Line(section, f"{kind}: at saturation", "/s", summarise(one.capacity)),
            Line(section, f"{kind}: p50 at {SHARE:.0%}", "ms", summarise(one.p50_ms), better="lower"),
            Line(section, f"{kind}: p99 at {SHARE:.0%}", "ms", summarise(one.p99_ms), better="lower"),
            Line(section, f"{kind}: p99 / p50", "x", summarise(ratios(one.p99_ms, one.p50_ms)), better="lower"),
        ]
    default = found["default"]
    for kind in OTHERS:
        other, both = found[kind], f"default / {kind}"
        result += [
            Line(section, f"{both}: at saturation", "x", summarise(ratios(default.capacity, other.capacity))),
            Line(section, f"{both}: p99", "x", summarise(ratios(default.p99_ms, other.p99_ms)), better="lower"),
        ]
    return result


def main() -> None:
    """Measure, show and write."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    given = options("Measure default batches beside smaller and larger ones.", RESULTS, seconds=8.0)
    facts = environment(ROOT)
    try:
        bundle = random_bundle(given.work, "int8", 0, given.tokenizer)
    except MissingInput as error:
        sys.exit(f"{error}.")
    with servers({"default": (), **OTHERS}, bundle, given.work) as running:
        result = []
        for work, longer in zip(works(), (1.0, 1.5), strict=True):  # pictures take ten times as long
            result += at_both_loads(running, work, given.rounds, longer * given.seconds)
    others = {kind: " ".join(flags) for kind, flags in OTHERS.items()}
    settings = {"rounds": given.rounds, "seconds": given.seconds, **others}
    publish(result, "batch sizes", facts, settings, given.out)


if __name__ == "__main__":
    main()
