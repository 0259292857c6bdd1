"""What counting facets takes, and whether it keeps an event loop waiting.

``python -m benchmarks.facets --n 1000000`` makes a collection of n products with eight metadata fields, one of them a
title of its own, and counts: the first time, again, and after a write, for four fields, for those under filters, and
for all fields. Each is done several times, by a new reader. Meanwhile an event loop in the same process wakes up every
millisecond and notes how late it is, with a count beside it and without.
"""

import argparse
import asyncio
import json
import random
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.harness.facts import environment
from benchmarks.harness.figures import Summary, percentile, summarise
from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.items import Item, metadata_json
from clipsearch.catalogue.mutations import Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.writer import CatalogueWriter

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "facets.json"
D = 8
HASH = "ab" * 32
BATCH = 5000
CHANGED = 1000
TURNS = 3
TICK_S = 0.001
PAGE = [("category",), ("colour",), ("brand",), ("price",)]
FILTERS = {"": "all items", 'category = "dress" AND price < 50': "1 in 88 items", "price > 20": "97 in 100 items"}

CATEGORIES = ["dress", "shirt", "shoe", "bag", "hat", "sofa", "lamp", "cup"]
COLOURS = ["red", "blue", "green", "black", "white", "grey", "pink", "yellow", "navy", "teal"]
TAGS = ["summer", "winter", "sale", "new", "kids", "sport"]


def product(number: int, rng: random.Random) -> Item:
    """Return an item whose fields have from two to n values."""
    colour, category = rng.choice(COLOURS), rng.choice(CATEGORIES)
    metadata: dict[str, object] = {
        "title": f"{colour} {category} number {number}",
        "category": category,
        "colour": colour,
        "price": rng.randrange(500, 50_000) / 100,
        "brand": f"Brand {int(rng.paretovariate(1)) % 3000}",
        "tags": rng.sample(TAGS, 2),
        "in_stock": rng.random() < 0.8,
        "size": {"eu": rng.randrange(35, 47)},
    }
    embedding = np.zeros(D, np.float16)
    embedding[number % D] = 1
    return Item(f"item-{number}", metadata_json(metadata), embedding, content_hash=number.to_bytes(8))


def write(writer: CatalogueWriter, first: int, end: int, seed: int) -> None:
    """Store the products numbered from ``first`` to before ``end``, in place of those that are there."""
    rng = random.Random(seed)
    for start in range(first, end, BATCH):
        writer.apply([Upsert([product(number, rng) for number in range(start, min(start + BATCH, end))])])


async def _lateness(work: Callable[[], None]) -> list[float]:
    """Return by how many milliseconds each wake-up of the loop is late while a thread works."""
    thread = threading.Thread(target=work)
    late = []
    thread.start()
    while thread.is_alive():
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        late.append(1e3 * (time.perf_counter() - due))
    return late


def measure(directory: Path, n: int) -> tuple[dict[str, Summary], dict[str, dict[str, float]]]:
    """Return the seconds of each kind of count, and the lateness of the loop in milliseconds."""
    samples: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        samples.setdefault(name, []).append(time.perf_counter() - began)

    with CatalogueWriter(directory, D, HASH) as writer:
        timed("writing", lambda: write(writer, 0, n, 1))
        for turn in range(TURNS):
            with CatalogueReader(directory) as reader:

                def count(paths: list[tuple[str, ...]], condition: str = "", by: CatalogueReader = reader) -> None:
                    by.facets.facets(compile_filter(condition) if condition else None, paths, 20, lambda: None)

                for condition, share in FILTERS.items():
                    timed(f"four fields, {share}: first", lambda condition=condition: count(PAGE, condition))  # type: ignore[misc]
                timed("all fields: first", lambda: count([]))
                timed("four fields: again", lambda: count(PAGE))
                write(writer, 0, CHANGED, 2 + turn)
                timed(f"four fields: after {CHANGED} updates", lambda: count(PAGE))
                timed(f"all fields: after {CHANGED} updates", lambda: count([]))
    with CatalogueReader(directory) as reader:
        late = asyncio.run(_lateness(lambda: count([], by=reader)))
    idle = asyncio.run(_lateness(lambda: time.sleep(len(late) * 2 * TICK_S)))
    lateness = {"counting": late, "idle": idle}
    return (
        {name: summarise(some) for name, some in samples.items()},
        {
            name: {"p50": percentile(some, 0.5), "p99": percentile(some, 0.99), "max": max(some)}
            for name, some in lateness.items()
        },
    )


def main() -> None:
    """Run the measurement and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    with tempfile.TemporaryDirectory() as directory:
        seconds, lateness = measure(Path(directory) / "measured", arguments.n)
    document = {
        "benchmark": "facets",
        "settings": {"n": arguments.n, "turns": TURNS, "changed": CHANGED},
        "environment": facts,
        "seconds": {name: asdict(one) for name, one in seconds.items()},
        "loop_lateness_ms": lateness,
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, one in seconds.items():
        print(f"{name}: {one.median:.3f} s ({one.low:.3f} … {one.high:.3f})")
    print(f"loop late by, ms: {lateness}")


if __name__ == "__main__":
    main()
