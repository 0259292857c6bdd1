"""How much of a server's saturated rate arrives in a file: ``clipsearch embed`` against single calls.

The two take turns at one server, round by round. Single calls are as many at once as saturate it; sending them costs
next to nothing, while the command shares the machine with the server. A second figure counts the command's start and
end too, as a shell would see it. The memory section embeds many texts in one run and watches the command's resident
memory. See docs/embed.md.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.closed_loop import drive, spread
from harness.facts import environment
from harness.figures import once, ratios, slope, summarise
from harness.models import ROOT, SAMPLE_BUNDLE, TOKENIZER, MissingInput, random_bundle
from harness.process import child, resident_bytes, settle
from harness.report import Line, as_json, table
from harness.server import Served, clipsearch
from harness.wire import EMBED_IMAGE, EMBED_TEXT, frame
from harness.workload import captions, photographs, queries
from rich.console import Console

from clipsearch.v1 import embedding_pb2

TARGET = 0.9
KINDS = 64
IN_FLIGHT = {"texts": KINDS, "JPEGs": 32}
"""As in ``serving.py``."""

KIB, MIB = 2**10, 2**20
STEADY_KIB = 50.0
"""KiB per 1,000 texts below which memory counts as steady: 10 MiB over 200,000."""

WATCH_EVERY_S = 0.25
RESULTS = ROOT / "benchmarks" / "results" / "embed.json"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured: rounds, seconds of each side's turn in each, and texts of the memory section."""

    rounds: int
    seconds: float
    warm_up_s: float
    memory_texts: int


FULL = Pace(rounds=5, seconds=8.0, warm_up_s=1.5, memory_texts=200_000)
QUICK = Pace(rounds=2, seconds=3.0, warm_up_s=0.5, memory_texts=20_000)


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of input for one model: the requests, and how to lay out a source of so many items."""

    name: str
    items: str
    bundle: Path
    method: str
    bodies: list[bytes]
    lay_out: Callable[[Path, int], Path]


@dataclass(slots=True)
class Rounds:
    """Per round, items per second."""

    saturated: list[float] = field(default_factory=list)
    embedded: list[float] = field(default_factory=list)
    whole_command: list[float] = field(default_factory=list)


def texts_job(name: str, bundle: Path, texts: Sequence[str]) -> Job:
    """Lines of a file, the same few again and again: nothing is cached."""

    def lay_out(directory: Path, count: int) -> Path:
        path = directory / "texts.txt"
        path.write_text("".join(texts[i % len(texts)] + "\n" for i in range(count)), encoding="utf-8")
        return path

    bodies = [frame(embedding_pb2.EmbedTextRequest(text=text)) for text in texts]
    return Job(name, "texts", bundle, EMBED_TEXT, bodies, lay_out)


def pictures_job(name: str, bundle: Path, pictures: Sequence[bytes]) -> Job:
    """A directory of files; hard links, so that thousands of them fit."""

    def lay_out(directory: Path, count: int) -> Path:
        root = directory / "pictures"
        root.mkdir()
        for i in range(count):
            path = root / f"{i:06}.jpg"
            if i < len(pictures):
                path.write_bytes(pictures[i])
            else:
                os.link(root / f"{i % len(pictures):06}.jpg", path)
        return root

    bodies = [frame(embedding_pb2.EmbedImageRequest(image=picture)) for picture in pictures]
    return Job(name, "JPEGs", bundle, EMBED_IMAGE, bodies, lay_out)


def compare(job: Job, pace: Pace, logs: Path, say: Callable[[str], None]) -> Rounds:
    """Let single calls and the command take turns at one server."""
    rounds, title = Rounds(), f"{job.name}, {job.items}"
    load = spread(IN_FLIGHT[job.items], pace.seconds, pace.warm_up_s)
    with (
        tempfile.TemporaryDirectory() as scratch,
        clipsearch(job.bundle, logs / f"embed-{job.name}-{job.items}.log".replace(" ", "-")) as served,
    ):
        source: Path | None = None
        for number in range(pace.rounds):
            settle([served.pid])
            rounds.saturated.append(drive(served.url(job.method), job.bodies, load, served.pid).rate)
            count = max(len(job.bodies), round(rounds.saturated[0] * pace.seconds))
            source = source or job.lay_out(Path(scratch), count)
            settle([served.pid])
            own, whole = embed(source, Path(scratch) / "out.parquet", served, count)
            rounds.embedded.append(own)
            rounds.whole_command.append(whole)
            say(f"{title}: round {number + 1} of {pace.rounds}, calls {rounds.saturated[-1]:.0f}/s, embed {own:.0f}/s")
    return rounds


def embed(source: Path, out: Path, served: Served, count: int) -> tuple[float, float]:
    """Run the command; returns its rate as it says, and over the command's whole time. RuntimeError if it fails."""
    started = time.monotonic()
    done = subprocess.run(command(source, out, served), capture_output=True, text=True, check=False)
    elapsed = time.monotonic() - started
    said = re.match(rf"Embedded {count:,} items into \S+ \(([\d,]+)/s\)\.", done.stdout)
    if done.returncode != 0 or said is None:
        raise RuntimeError(f"clipsearch embed ended with {done.returncode}: {done.stdout}{done.stderr}")
    return float(said[1].replace(",", "")), count / elapsed


def command(source: Path, out: Path, served: Served) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "clipsearch", "embed", str(source), "--out", str(out), "--server", served.address]


def compared(job: Job, rounds: Rounds) -> list[Line]:
    """Return the lines of one comparison."""
    unit = f"{job.items}/s"
    return [
        Line(job.name, f"{job.items}: saturated by single calls", unit, summarise(rounds.saturated)),
        Line(job.name, f"{job.items}: embed, into Parquet", unit, summarise(rounds.embedded)),
        Line(
            job.name,
            f"{job.items}: embed / saturated",
            "x",
            summarise(ratios(rounds.embedded, rounds.saturated)),
            TARGET,
        ),
        Line(
            job.name,
            f"{job.items}: with the command's start and end / saturated",
            "x",
            summarise(ratios(rounds.whole_command, rounds.saturated)),
        ),
    ]


def memory(pace: Pace, logs: Path, bundle: Path, seed: int) -> tuple[list[Line], dict[str, Any]]:
    """Watch the command's resident memory while it embeds; the slope is that of all but the first fifth."""
    texts, total = captions(1000, seed), pace.memory_texts
    taken: list[int] = []
    resident: list[int] = []
    with tempfile.TemporaryDirectory() as scratch, clipsearch(bundle, logs / "embed-memory-server.log") as served:
        source, out = Path(scratch) / "texts.txt", Path(scratch) / "out.npy"
        source.write_text("".join(texts[i % 1000] + "\n" for i in range(total)), encoding="utf-8")
        note = Path(f"{out}.partial") / "progress.json"
        with child(command(source, out, served), logs / "embed-memory.log") as process:
            while process.poll() is None:
                time.sleep(WATCH_EVERY_S)
                try:
                    done, now = json.loads(note.read_text())["taken"], resident_bytes(process.pid)
                except (FileNotFoundError, ProcessLookupError, IndexError):
                    continue  # before its first note, or after its end
                taken.append(done)
                resident.append(now)
            if process.returncode != 0 or not out.exists():
                raise RuntimeError(f"clipsearch embed ended with {process.returncode}; see {logs / 'embed-memory.log'}")
    first = next(i for i, done in enumerate(taken) if done >= total / 5)
    grown = slope([done / 1000 for done in taken[first:]], [size / KIB for size in resident[first:]])
    sizes = summarise([size / MIB for size in resident[first:]])
    lines = [
        Line("memory", f"resident, over {total:,} texts", "MiB", sizes, better="lower"),
        Line("memory", "slope per 1,000 texts", "KiB", once(grown, len(taken) - first), STEADY_KIB, "lower"),
    ]
    return lines, {"taken": taken, "resident_bytes": resident}


def jobs(arguments: argparse.Namespace, say: Callable[[str], None]) -> list[Job]:
    """Return what is compared; the large model's jobs only where its bundle can be made."""
    seed = arguments.seed
    made = [
        texts_job("sample model", arguments.bundle, captions(KINDS, seed)),
        pictures_job("sample model", arguments.bundle, photographs()),
    ]
    try:
        large = random_bundle(arguments.work, "int8", seed, arguments.tokenizer)
    except MissingInput as error:
        say(f"without ViT-B/32: {error}")
        return made
    return [
        *made,
        texts_job("ViT-B/32 int8", large, queries(KINDS, seed)),
        pictures_job("ViT-B/32 int8", large, photographs()),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run everything; exits with 1 and one sentence where something needed is missing."""
    arguments = _arguments(argv)
    # An exception, so that context managers end the servers; the default action would orphan them.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console(stderr=True, highlight=False)
    pace, logs = QUICK if arguments.quick else FULL, arguments.work / "logs"
    facts = environment(ROOT)
    if facts["busy"]:
        console.print("the machine is busy with other work, so expect rates that are too low and spreads that are wide")
    lines: list[Line] = []
    samples: dict[str, Any] = {}
    try:
        for job in jobs(arguments, console.print):
            rounds = compare(job, pace, logs, console.print)
            lines += compared(job, rounds)
            samples[f"{job.name}, {job.items}"] = asdict(rounds)
        watched, samples["memory"] = memory(pace, logs, arguments.bundle, arguments.seed)
    except MissingInput as error:
        sys.exit(f"{error}.")
    lines += watched
    # A hurried run must not replace the committed figures by accident.
    out = arguments.out or (arguments.work / "embed.json" if arguments.quick else RESULTS)
    settings = {"pace": asdict(pace), "in_flight": IN_FLIGHT, "quick": arguments.quick}
    document = {
        "environment": facts, "settings": settings, "seed": arguments.seed, "lines": as_json(lines), "samples": samples,
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    screen = Console()
    screen.print(table(lines, "clipsearch embed"), width=None if screen.is_terminal else 140)
    console.print(f"written to {out}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure clipsearch embed against the rate that its server can do.")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; for trying, not for figures")
    parser.add_argument("--out", type=Path, help=f"JSON to write (whole run: {RESULTS.relative_to(ROOT)})")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where models are made and kept")
    parser.add_argument("--bundle", type=Path, default=SAMPLE_BUNDLE, help="the sample model's bundle")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory with CLIP's tokenizer.json")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
