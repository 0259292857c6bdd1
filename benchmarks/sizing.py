"""How much disk and memory a ViT-B/32 takes to be served on a CPU: what the formulas of docs/operating.md start from.

``python -m benchmarks.sizing`` exports a seeded random checkpoint of that size in each precision, serves those that the
CPU serves, without a data directory, and looks at the process after the start and after some load, with the default
threads and with one session per tower. Memory is told apart into the process's own and mapped files, which the system
can take back.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.facts import environment
from benchmarks.harness.models import ROOT, TOKENIZER, random_bundle
from benchmarks.harness.server import clipsearch
from benchmarks.harness.workload import captions, made_pictures
from clipsearch.client import Client
from clipsearch.encoders.manifest import PRECISIONS

RESULTS = ROOT / "benchmarks/results/sizing.json"
SERVED = ("fp32", "int8")
ONE_SESSION = {"CLIPSEARCH_LONE_THREADS": "1", "CLIPSEARCH_ENCODER_THREADS": "1"}
"""A run that is alone in its tower is then like all others, so there is no second session with weights of its own."""

CALLERS, CALLS = 32, 320


def memory(pid: int) -> dict[str, int]:
    """Return the bytes that a process has to itself, and those of files that are mapped into it."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in status) if "kB" in rest}
    return {"own_bytes": kib["RssAnon"] * 1024, "mapped_bytes": kib["RssFile"] * 1024}


def load(address: str, seed: int) -> None:
    """Embed texts and pictures, so many at once that batches are full."""
    texts = captions(CALLS, seed)
    pictures = made_pictures(8, seed)
    with Client(address) as client, ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(client.embed_text, texts))
        list(callers.map(lambda i: client.embed_image(pictures[i % len(pictures)]), range(CALLS // 4)))


@contextmanager
def settings(values: dict[str, str]) -> Iterator[None]:
    """Have servers that are started here see these environment variables."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


def serve(bundle: Path, log: Path, seed: int) -> dict[str, object]:
    """Return the seconds to SERVING and the memory then and after load."""
    began = time.monotonic()
    with clipsearch(bundle, log) as server:
        started = time.monotonic() - began
        at_start = memory(server.pid)
        load(server.address, seed)
        return {"start_s": started, "at_start": at_start, "after_load": memory(server.pid)}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench", help="where checkpoint and bundles are kept")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory of CLIP's tokenizer")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bundles = {p: random_bundle(arguments.work, p, arguments.seed, arguments.tokenizer) for p in PRECISIONS}
    sizes = {p: sum(file.stat().st_size for file in bundle.iterdir()) for p, bundle in bundles.items()}
    served = {}
    for precision in SERVED:
        for sessions, values in (("two sessions", {}), ("one session", ONE_SESSION)):
            with settings(values):
                log = arguments.work / "logs" / f"sizing-{precision}.log"
                served[f"{precision}, {sessions}"] = serve(bundles[precision], log, arguments.seed)
    result = {
        "environment": environment(ROOT),
        "settings": {"callers": CALLERS, "texts": CALLS, "pictures": CALLS // 4, "one_session": ONE_SESSION},
        "seed": arguments.seed,
        "bundle_bytes": sizes,
        "served": served,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"bundle_bytes": sizes, "served": served}, indent=1))


if __name__ == "__main__":
    main()
