"""Recall and cost of filtered search: what the thresholds of `clipsearch.index.planner` were chosen by.

``python -m benchmarks.filtered_recall`` builds an IVF-PQ index of clustered vectors and searches it through filters of
falling selectivity, of three kinds:

* random: rows drawn by chance;
* clusters: all rows of some clusters, of a k-means of their own (not the index's lists);
* hollow: the same clusters taken from the far end, for each query its own: everything near it is excluded.

Recall@10 is against exact search of the same rows, pictures and texts counted separately. Times are medians of single
queries, and of a batch of 64 (per query) where one filter serves many queries, on one thread; "first" is the first use
of a filter, which works out what is then remembered. ``--n 1000000 --d 512`` is the size of a real catalogue.
"""

import argparse
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clustered_vectors import Clustered, clustered
from benchmarks.harness.facts import environment
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.flat import penalty_of, scan
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.kmeans import assign, kmeans
from clipsearch.index.matching import NearestByProduct
from clipsearch.index.rules import Kind
from clipsearch.index.storage import open_index
from clipsearch.index.threads import available_cores, limit_blas
from clipsearch.selection import Selection

ROOT = Path(__file__).parents[1]
K = 10
BATCH = 64
SHARES = (0.99, 0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001)
TIE = 1e-5

Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """One line of the table; times in microseconds per query, None where one filter serves only one query."""

    kind: str
    share: float
    selected: int
    image_recall: float
    text_recall: float
    first_us: float
    single_us: float
    batch_us: float | None


class Samples:
    """What one line is made of: recalls per query, microseconds per query."""

    def __init__(self) -> None:
        self.recalls: dict[str, list[float]] = {"image": [], "text": []}
        self.first: list[float] = []
        self.single: list[float] = []
        self.batch: list[float] = []

    def line(self, kind: str, share: float, size: int) -> Measured:
        """Sum up and print."""
        line = Measured(
            kind=kind,
            share=share,
            selected=max(1, round(share * size)),
            image_recall=round(statistics.mean(self.recalls["image"]), 4),
            text_recall=round(statistics.mean(self.recalls["text"]), 4),
            first_us=round(statistics.median(self.first), 1),
            single_us=round(statistics.median(self.single), 1),
            batch_us=round(statistics.median(self.batch), 1) if self.batch else None,
        )
        print(
            f"{kind:<9}{share:>9.2%}{line.selected:>9}{line.image_recall:>9.3f}{line.text_recall:>9.3f}"
            f"{line.first_us:>10.0f}{line.single_us:>10.0f}{line.batch_us or '-':>10}",
            flush=True,
        )
        return line


class Bench:
    """An index with its queries and the clusters that filters are made of."""

    def __init__(self, index: IvfPqIndex, images: Float32, texts: Float32, seed: int) -> None:
        self.index = index
        self.stored = index.matrix.astype(np.float32)
        self.queries = {"image": images, "text": texts}
        self.rng = np.random.default_rng(seed)
        count = max(2, int(index.size**0.5 / 2))
        sample = self.stored[self.rng.choice(index.size, min(index.size, 64 * count), replace=False)]
        with ThreadPoolExecutor(available_cores()) as pool:
            self.centres = kmeans(sample, count, pool, iterations=5, seed=seed)
            self.cluster_of = assign(self.stored, NearestByProduct(self.centres), pool)
        self.sizes = np.bincount(self.cluster_of, minlength=count)

    def curve(self) -> list[Measured]:
        """Measure and print every kind of filter at every share."""
        print("filter       share selected   images    texts  first µs   µs each  in batch")
        lines = [self.shared("random", 1.0)]
        lines += [self.shared(kind, share) for kind in ("random", "clusters") for share in SHARES]
        return lines + [self.per_query(share) for share in SHARES]

    def random(self, share: float) -> Mask:
        """Rows drawn by chance."""
        mask = np.zeros(self.index.size, dtype=np.bool_)
        mask[self.rng.choice(len(mask), max(1, round(share * len(mask))), replace=False)] = True
        return mask

    def clusters(self, share: float, order: NDArray[np.int64] | None = None) -> Mask:
        """All rows of clusters in an order (by chance), the last cut so that the share is kept."""
        order = self.rng.permutation(len(self.sizes)) if order is None else order
        wanted = max(1, round(share * self.index.size))
        whole = int((self.sizes[order].cumsum() <= wanted).sum())
        chosen = np.zeros(len(order), dtype=np.bool_)
        chosen[order[:whole]] = True
        mask: Mask = chosen[self.cluster_of]
        if rest := wanted - int(mask.sum()):
            mask[np.flatnonzero(self.cluster_of == order[whole])[:rest]] = True
        return mask

    def hollow(self, share: float, query: Float32) -> Mask:
        """The clusters furthest from the query."""
        return self.clusters(share, np.argsort(self.centres @ query))

    def search(self, queries: Float32, only: Selection) -> tuple[list[float], list[float]]:
        """Search one by one; return the recall and the microseconds of each."""
        truth = scan(queries, self.stored, K, penalty_of(only.mask))[0]
        recalls, times = [], []
        for query, wanted in zip(queries, truth, strict=True):
            began = time.perf_counter()
            scores, _ = self.index.search(query[None], K, only=only)
            times.append((time.perf_counter() - began) * 1e6)
            real = np.isfinite(wanted)
            recalls.append(float((scores[0][: real.sum()] >= wanted[real][-1] - TIE).mean()))
        return recalls, times

    def batch_us(self, only: Selection) -> float:
        """Return the median time per query of a batch."""
        queries = np.resize(self.queries["image"], (BATCH, self.index.dimension))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            self.index.search(queries, K, only=only)
            times.append((time.perf_counter() - began) * 1e6 / BATCH)
        return statistics.median(times)

    def shared(self, kind: str, share: float) -> Measured:
        """Measure one filter for all queries, anew for a few draws."""
        samples = Samples()
        draws = 4 if share < 1 else 1
        for draw in range(draws):
            mask = self.random(share) if kind == "random" else self.clusters(share)
            only = Selection.of(len(mask), np.flatnonzero(mask))
            for modality, queries in self.queries.items():
                found, times = self.search(queries[draw::draws], only)
                samples.recalls[modality] += found
                samples.first += times[:1] if modality == "image" else []
                samples.single += times[1:]
            samples.batch.append(self.batch_us(only))
        return samples.line(kind, share, self.index.size)

    def per_query(self, share: float) -> Measured:
        """Measure a filter of its own for each query, a third of the queries."""
        samples = Samples()
        for modality, queries in self.queries.items():
            for query in queries[::3]:
                mask = self.hollow(share, query)
                only = Selection.of(len(mask), np.flatnonzero(mask))
                found, times = self.search(np.stack([query, query]), only)
                samples.recalls[modality] += found[:1]
                samples.first.append(times[0])
                samples.single.append(times[1])
        return samples.line("hollow", share, self.index.size)


def build(n: int, d: int, queries: int, seed: int, directory: Path) -> tuple[IvfPqIndex, Clustered]:
    """Build and open a tuned IVF-PQ index of clustered vectors."""
    data = clustered(n, d, queries + 500, seed)
    blocks = (data.base[start : start + 16384].astype(np.float16) for start in range(0, n, 16384))
    rows = np.arange(n)
    source = IndexSource(rows, d, blocks, map(str, range(n)), seq=1, text_queries=data.text_queries[queries:])
    build_index(directory, source, IndexOptions(kind=Kind.IVFPQ, seed=seed))
    index = open_index(directory, "cpu", 1, verify=False).index
    assert isinstance(index, IvfPqIndex)
    return index, data


def main() -> None:
    """Build, measure, print; write the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--queries", type=int, default=100, help="of each modality")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        index, data = build(arguments.n, arguments.d, arguments.queries, arguments.seed, Path(name))
        limit_blas(1)
        images, texts = data.image_queries[: arguments.queries], data.text_queries[: arguments.queries]
        bench = Bench(index, images, texts, arguments.seed)
        print(f"{arguments.n} x {arguments.d}, nprobe {index.nprobe}, overfetch {index.overfetch}, top {K}")
        lines = bench.curve()
    if arguments.out is not None:
        settings = {key: value for key, value in vars(arguments).items() if key != "out"}
        tuned = {"nprobe": index.nprobe, "overfetch": index.overfetch}
        result = {
            "benchmark": "filtered_recall",
            "settings": settings,
            "environment": environment(ROOT),
            "tuned": tuned,
            "lines": list(map(asdict, lines)),
        }
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
