"""How fast the catalogue takes ready vectors, every commit flushed to the disk.

``python -m benchmarks.catalogue_writes [--directory DIR] [--rounds 60]`` writes 512-dimensional vectors into a new
catalogue under DIR (which should be on the disk that matters, not in memory) in three ways: new items and updated items
in mutations of 500, and groups of 64 single items with request ids, as single upserts from many callers become. Prints
items per second over all rounds, and the median, smallest and largest time of a commit.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.items import Item, metadata_json
from clipsearch.catalogue.mutations import Mutation, Upsert
from clipsearch.catalogue.writer import CatalogueWriter

DIMENSION = 512
MANY = 500
SINGLE = 64


def item(name: str, price: int, vector: NDArray[np.float16]) -> Item:
    """An item with the metadata of a small shop."""
    metadata = metadata_json({"brand": "someone", "title": "a few words about it", "price": price})
    return Item(name, metadata, vector, uri=f"pictures/{name}.jpg")


def measure(label: str, writer: CatalogueWriter, rounds: int, group: Callable[[int], list[Mutation]]) -> None:
    """Apply ``rounds`` groups; making them is not measured."""
    times, items = [], 0
    for turn in range(rounds):
        mutations = group(turn)
        items += sum(len(mutation.items) for mutation in mutations if isinstance(mutation, Upsert))
        began = time.perf_counter()
        writer.apply(mutations)
        times.append(time.perf_counter() - began)
    milliseconds = np.array(times) * 1e3
    print(
        f"{label:<42}{items / sum(times):>8,.0f} items/s, commit {np.median(milliseconds):.0f} ms "
        f"({milliseconds.min():.0f} to {milliseconds.max():.0f})"
    )


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path("build"))
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    vectors = np.random.default_rng(0).standard_normal((MANY, DIMENSION)).astype(np.float16)

    def many(turn: int, price: int) -> list[Mutation]:
        return [Upsert([item(f"item-{turn}-{i}", price, vector) for i, vector in enumerate(vectors)])]

    def single(turn: int) -> list[Mutation]:
        return [
            Upsert([item(f"single-{turn}-{i}", 0, vectors[i])], request_id=f"request-{turn}-{i}") for i in range(SINGLE)
        ]

    with (
        tempfile.TemporaryDirectory(dir=arguments.directory) as name,
        CatalogueWriter(Path(name), DIMENSION, None) as writer,
    ):
        measure(f"new items, {MANY} a mutation", writer, arguments.rounds, lambda turn: many(turn, 1))
        measure(f"updated items, {MANY} a mutation", writer, arguments.rounds, lambda turn: many(turn, 2))
        measure(f"single items, {SINGLE} mutations a commit", writer, arguments.rounds, single)


if __name__ == "__main__":
    main()
