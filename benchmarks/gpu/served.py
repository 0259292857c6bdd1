"""The whole server beside its load on one machine with a GPU: what it answers, how soon, and what gives way first.

    python benchmarks/gpu/served.py --out DIR [--n 1000000] [--seconds 8] [--work DIR] [--tokenizer DIR]
        [--jpeg-decoder nvjpeg]

A seeded random ViT-B/32 in float16 and clustered vectors of its dimension, both made first. Searches by text, texts and
JPEGs of 512 x 512 each get a closed loop, which finds how many are answered, and then arrivals at random at parts of
that rate, which show latencies: counted from when a call was due. Processor time by part, the GPU's time and what
crosses to it are read meanwhile; the part nearest to its limit in the closed loop is named. ``--device cpu`` is for
trying it where there is no GPU.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.clustered_vectors import clustered
from benchmarks.gpu.watching import Gpu, Machine, Watch, limits
from benchmarks.harness.facts import environment
from benchmarks.harness.figures import percentile
from benchmarks.harness.models import ROOT, TOKENIZER, MissingInput, fingerprint, of_vectors, random_bundle
from benchmarks.harness.open_loop import OK, Calls, Plan, run
from benchmarks.harness.process import free_port, settle
from benchmarks.harness.server import Served, clipsearch
from benchmarks.harness.wire import EMBED_IMAGE, EMBED_TEXT, SEARCH
from benchmarks.harness.workload import made_pictures, queries
from clipsearch.decoding import decode_threads
from clipsearch.encoders.manifest import load_bundle
from clipsearch.index.threads import available_cores
from clipsearch.settings import Settings
from clipsearch.v1 import embedding_pb2, search_pb2

TEXTS, PICTURES, TOP_K = 4096, 64, 10
SHARES: Final = (0.3, 0.5, 0.65, 0.8, 0.9)
SLO_MS: Final = 20.0
MOST_LAG_S: Final = 0.005
"""Later than that at the 99th percentile, calls were not sent when they were due: the generators were too slow."""

LEAD_S: Final = 2.0
"""From starting the generators to their first call: they import and connect meanwhile."""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of call: its requests, how many of them at once saturate, and at which parts of that it is timed."""

    name: str
    method: str
    bodies: Sequence[bytes]
    in_flight: int
    shares: Sequence[float]


def works(in_flight: int) -> list[Work]:
    """Return the kinds of calls; hardly two texts are the same."""
    texts = queries(TEXTS, 0)
    searches = [
        search_pb2.SearchRequest(query=search_pb2.Query(text=text), top_k=TOP_K).SerializeToString() for text in texts
    ]
    embeddings = [embedding_pb2.EmbedTextRequest(text=text).SerializeToString() for text in texts]
    pictures = [embedding_pb2.EmbedImageRequest(image=one).SerializeToString() for one in made_pictures(PICTURES, 0)]
    return [
        Work("search by text", SEARCH, searches, in_flight, SHARES),
        Work("embed text", EMBED_TEXT, embeddings, in_flight, ()),
        Work("embed image", EMBED_IMAGE, pictures, in_flight, (0.5, 0.8)),
    ]


@dataclass(frozen=True, slots=True)
class Load:
    """Who calls: so many processes, for so long; ``bodies`` is a file with what they send."""

    generators: int
    seconds: float
    bodies: Path

    def send(self, address: str, method: str, *, in_flight: int = 0, rate: float = 0.0) -> list[Calls]:
        """Call in a closed loop of ``in_flight``, or at random times, ``rate`` a second; both of all processes."""
        begins, n = time.monotonic() + LEAD_S, self.generators
        plan = Plan(
            address,
            method,
            str(self.bodies),
            ["gpu"],
            rate / n,
            begins,
            self.seconds,
            0.0,
            0,
            in_flight=-(-in_flight // n),
        )
        return run([replace(plan, seed=seed) for seed in range(n)])


def summary(found: Sequence[Calls], seconds: float) -> dict[str, float]:
    """Return rates and latencies of what was answered; how much was not, and how late calls were sent."""
    calls = [call for one in found for call in one.calls]
    took = [call[2] for call in calls if call[3] == OK]
    # Calls begun in time may end later; those that a closed loop ends with would count twice in a short one.
    within = sum(call[3] == OK and call[0] + call[2] <= seconds for call in calls)
    if not within:
        came = sorted({call[3] for call in calls})
        raise RuntimeError(f"of {len(calls)} calls none was answered in {seconds:g} s: {came}")
    return {
        "answered": len(took),
        "answered_s": round(within / seconds, 1),
        "p50_ms": round(1e3 * percentile(took, 0.5), 3),
        "p99_ms": round(1e3 * percentile(took, 0.99), 3),
        "failed": round(1 - len(took) / len(calls), 5),
        "lag_p99_ms": round(1e3 * percentile([call[1] for call in calls], 0.99), 3),
        "generator_cores": round(max(one.cpu_s for one in found) / seconds, 3),
    }


def measured(work: Work, server: Served, metrics: str, machine: Machine, load: Load) -> dict[str, Any]:
    """Measure one kind of call: a closed loop with all that is seen of the machine, then arrivals."""
    load.bodies.write_text(json.dumps([body.hex() for body in work.bodies]), encoding="utf-8")
    Load(load.generators, 1.0, load.bodies).send(server.address, work.method, in_flight=work.in_flight)
    settle([server.pid])
    with Watch(metrics, server.pid) as watch:
        calls = load.send(server.address, work.method, in_flight=work.in_flight)
    closed, seen = summary(calls, load.seconds), watch.seen
    # What was seen is of all calls, also of those that the closed loop ends with, and is spread over all of them.
    took_s = closed["answered"] / closed["answered_s"]
    cores = {part: round(used_s / took_s, 3) for part, used_s in seen.cpu_s.items()}
    others = {"the busiest generator": closed["generator_cores"]}
    if seen.gpu_busy_s is not None:
        others["GPU"] = min(1.0, seen.gpu_busy_s / took_s)
    crossing = None if seen.to_gpu_bytes is None else round(seen.to_gpu_bytes / closed["answered"])
    result: dict[str, Any] = {
        "name": work.name, "in_flight": work.in_flight, "closed": closed, "cores": cores, "stages_ms": seen.stages_ms,
        "batch_items": seen.batch_items, "to_gpu_bytes_a_call": crossing,
        "limits": [asdict(one) for one in limits(machine, cores, others)], "open": [],
    }  # fmt: skip
    for share in work.shares:
        settle([server.pid])
        offered = share * closed["answered_s"]
        once = summary(load.send(server.address, work.method, rate=offered), load.seconds)
        result["open"].append({"share": share, "offered_s": round(offered, 1), **once})
    result["within_slo_s"] = within_slo(result["open"])
    return result


def within_slo(steps: Sequence[dict[str, float]]) -> float | None:
    """Return the largest rate at which p99 kept to the objective and calls were sent in time; None where none did."""
    kept = [
        one["answered_s"]
        for one in steps
        if one["p99_ms"] <= SLO_MS and one["failed"] < 0.001 and one["lag_p99_ms"] <= 1e3 * MOST_LAG_S
    ]
    return max(kept, default=None)


def data_of(work: Path, n: int, bundle: Path, device: str) -> Path:
    """Return a data directory with ``n`` clustered vectors, indexed; made once, then kept."""
    dimension = load_bundle(bundle).manifest.dimension
    vectors = work / f"vectors-{n}-{dimension}-{fingerprint([], [ROOT / 'benchmarks/clustered_vectors.py'])}.npy"
    if not vectors.exists():
        partial = vectors.with_suffix(".partial.npy")
        np.save(partial, clustered(n, dimension, 8).base)
        partial.rename(vectors)
    return of_vectors(work, vectors, bundle, device)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| calls | load | answered/s | p50 | p99 | failed | nearest to their limits |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in results:
        nearest = ", ".join(f"{limit['part']} {limit['share']:.2f}" for limit in one["limits"][:3])
        steps = [(f"closed, {one['in_flight']}", one["closed"], nearest)]
        steps += [(f"{step['share']:g} x", step, "") for step in one["open"]]
        for load, step, told in steps:
            lines.append(
                f"| {one['name']} | {load} | {step['answered_s']:,.0f} | {step['p50_ms']:.1f} ms | "
                f"{step['p99_ms']:.1f} ms | {100 * step['failed']:.2f} % | {told} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make what is served, measure, and write ``served.json``."""
    given = _arguments()
    try:
        bundle = random_bundle(given.work, given.precision, 0, given.tokenizer)
    except MissingInput as error:
        sys.exit(f"{error}.")
    data = data_of(given.work, given.n, bundle, given.device)
    settings = Settings.model_validate({"bundle": bundle, "device": given.device})
    cores = settings.cores
    machine = Machine(cores, settings.front_processes, decode_threads(settings))
    metrics = f"127.0.0.1:{free_port()}"
    out: dict[str, Any] = {
        "environment": environment(ROOT), "gpu": Gpu().name if given.device == "cuda" else None,
        "n": given.n, "device": given.device, "precision": given.precision, "jpeg_decoder": given.jpeg_decoder,
        "machine": asdict(machine), "generators": given.generators, "seconds": given.seconds, "works": [],
    }  # fmt: skip
    load = Load(given.generators, given.seconds, given.work / "bodies.json")
    flags = ["--device", given.device, "--metrics-listen", metrics]
    if given.jpeg_decoder == "nvjpeg":
        flags += ["--jpeg-decoder", "nvjpeg", "--decode-isolation", "none"]
    with ExitStack() as stack:
        server = stack.enter_context(clipsearch(bundle, given.out / "served.log", data=data, flags=flags))
        for work in works(given.in_flight):
            out["works"].append(measured(work, server, metrics, machine, load))
            (given.out / "served.json").write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(table(out["works"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The server end to end on a machine with a GPU.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu-served", help="what is made is kept there")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--jpeg-decoder", choices=("cpu", "nvjpeg"), default="cpu", help="who decodes JPEGs")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each step")
    parser.add_argument("--in-flight", type=int, default=512, help="calls at once in the closed loop")
    parser.add_argument(
        "--generators", type=int, default=max(1, available_cores() * 3 // 8), help="processes that call"
    )
    given = parser.parse_args()
    given.work, given.out = given.work.resolve(), given.out.resolve()
    given.precision = "fp16" if given.device == "cuda" else "int8"
    for directory in (given.work, given.out):
        directory.mkdir(parents=True, exist_ok=True)
    return given


if __name__ == "__main__":
    main()
