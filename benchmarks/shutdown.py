"""What an index at the shutdown costs, and what it spares the next start: the two bounds in ``clipsearch.rebuilds``.

``python -m benchmarks.shutdown --n 200000 --d 512`` builds a collection of n clustered vectors, writes a tenth as many
more, and then measures in turns: opening it with that tail to replay, writing an index without training as a shutdown
does, opening it again, and a rebuild that adds again and measures recall, as one that a delta calls for.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clustered_vectors import clustered
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import Collection, CollectionOptions
from clipsearch.index.build import IndexOptions
from clipsearch.index.rules import Training
from clipsearch.index.threads import available_cores
from clipsearch.index.tuning import Report
from clipsearch.services.build_index import derive_index
from clipsearch.services.build_report import RejectLog, Tally

BATCH = 2000
TURNS = 3


def derive(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
    """Build on half of the cores, as a server does."""
    options = IndexOptions(threads=max(1, available_cores() // 2), training=training)
    with RejectLog(directory, Tally()) as rejects:
        derive_index(directory, reader, queries=None, options=options, report=report, rejects=rejects)


@contextmanager
def opened(directory: Path, d: int) -> Iterator[Collection]:
    """Open the collection for as long as that takes."""
    options = CollectionOptions(d, "ab" * 32, derive, device="cpu", rebuild_by_itself=False)
    collection = Collection("measured", directory, options)
    try:
        yield collection
    finally:
        collection.close()


def write(collection: Collection, vectors: NDArray[np.float32], first: int) -> None:
    """Store vectors as items that are numbered from ``first`` on."""
    for start in range(0, len(vectors), BATCH):
        some = vectors[start : start + BATCH].astype(np.float16)
        items = [Item(f"item-{first + start + i}", "{}", vector) for i, vector in enumerate(some)]
        (answer,) = collection.write([Upsert(items)])
        if not isinstance(answer, Applied):
            raise answer


def seconds(work: Callable[[], None]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(directory: Path, n: int, d: int) -> None:
    """Print the table."""

    def start() -> None:
        with opened(directory, d) as collection:
            print(f"    {collection.view.delta_size} rows replayed")

    def shut_down() -> None:
        with CatalogueReader(directory) as reader:
            derive(directory, reader, lambda *_: None, Training.NEVER)

    vectors = clustered(n + TURNS * (n // 10), d, 1).base

    def rebuild() -> None:
        with opened(directory, d) as collection:
            again = collection.rebuild()
            recall = again.image_recall and again.image_recall.recall
            trained = again.ivfpq and again.ivfpq.training.seq == again.seq
            print(f"    {'trained' if trained else 'added again'}, recall {recall}")

    with opened(directory, d) as collection:
        write(collection, vectors[:n], 0)
    print(f"  trained, measured and opened: {seconds(rebuild):.1f} s")
    tail, begun = n // 10, n
    for _ in range(TURNS):
        with opened(directory, d) as collection:
            write(collection, vectors[begun : begun + tail], begun)
        begun += tail
        replaying, writing, opening = (seconds(step) for step in (start, shut_down, start))
        print(f"  start with {tail} to replay {replaying:.2f} s, without {opening:.2f} s: ", end="")
        print(f"{(replaying - opening) / tail * 1e6:.1f} us per row replayed")
        print(f"  writing an index of {begun} {writing:.2f} s: {writing / begun * 1e6:.1f} us per item")
        print(f"  added again, measured and opened: {seconds(rebuild):.1f} s")


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--d", type=int, default=512)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        measure(Path(directory) / "measured", arguments.n, arguments.d)


if __name__ == "__main__":
    main()
