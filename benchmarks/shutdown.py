"""What an index at the shutdown costs, and what it spares the next start: the two bounds in ``clipsearch.rebuilds``.

``python -m benchmarks.shutdown --n 200000 --d 512`` builds a collection of n clustered vectors, writes a tenth as many
more, and then measures in turns: opening it with that tail to replay, writing an index without training as a shutdown
does, opening it again, and a rebuild that adds again and measures recall, as one that a delta calls for.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clustered_vectors import clustered
from benchmarks.harness.facts import environment
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

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "shutdown.json"
BATCH = 2000
TURNS = 3


def derive(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
    """Build on half of the cores, as a server does."""
    options = IndexOptions(threads=max(1, available_cores() // 2), training=training)
    with RejectLog(directory, Tally()) as rejects:
        derive_index(directory, reader, queries=None, options=options, report=report, rejects=rejects)


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds: a start with ``tail`` rows to replay and one without, and what ends with an index of ``items``."""

    items: int
    tail: int
    start_with_tail_s: float
    start_s: float
    write_index_s: float
    add_again_s: float

    @property
    def replay_us(self) -> float:
        """Microseconds per row replayed."""
        return 1e6 * (self.start_with_tail_s - self.start_s) / self.tail

    @property
    def write_us(self) -> float:
        """Microseconds per item of the index written."""
        return 1e6 * self.write_index_s / self.items


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


def measure(directory: Path, n: int, d: int) -> tuple[float, list[Turn]]:
    """Return the seconds of a rebuild that trains, and of the turns after it."""

    def start() -> None:
        with opened(directory, d):
            pass

    def shut_down() -> None:
        with CatalogueReader(directory) as reader:
            derive(directory, reader, lambda *_: None, Training.NEVER)

    def rebuild(expect_training: bool) -> None:
        with opened(directory, d) as collection:
            again = collection.rebuild()
            if again.ivfpq is None or (again.ivfpq.training.seq == again.seq) is not expect_training:
                raise RuntimeError(f"expected training: {expect_training}, but got {again.ivfpq}")

    vectors = clustered(n + TURNS * (n // 10), d, 1).base
    with opened(directory, d) as collection:
        write(collection, vectors[:n], 0)
    training_s = seconds(lambda: rebuild(True))
    print(f"a rebuild that trains: {training_s:.1f} s")
    turns, tail = [], n // 10
    for begun in range(n, n + TURNS * tail, tail):
        with opened(directory, d) as collection:
            write(collection, vectors[begun : begun + tail], begun)
        with_tail_s, write_s, start_s = (seconds(step) for step in (start, shut_down, start))
        turn = Turn(begun + tail, tail, with_tail_s, start_s, write_s, seconds(lambda: rebuild(False)))
        turns.append(turn)
        print(
            f"start with {tail} rows to replay {turn.start_with_tail_s:.2f} s, without {turn.start_s:.2f} s"
            f" ({turn.replay_us:.1f} us a row); writing an index of {turn.items} {turn.write_index_s:.2f} s"
            f" ({turn.write_us:.1f} us an item); adding again {turn.add_again_s:.1f} s",
            flush=True,
        )
    return training_s, turns


def main() -> None:
    """Run the measurement and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    with tempfile.TemporaryDirectory() as directory:
        training_s, turns = measure(Path(directory) / "measured", arguments.n, arguments.d)
    document = {
        "benchmark": "shutdown",
        "settings": {"n": arguments.n, "d": arguments.d},
        "environment": facts,
        "rebuild_with_training_s": training_s,
        "turns": [{**asdict(turn), "replay_us": turn.replay_us, "write_us": turn.write_us} for turn in turns],
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
