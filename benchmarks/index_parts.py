"""The measurements behind the choices in docs/index.md, each in one process, alternatives interleaved.

``python -m benchmarks.index_parts flat|rerank|threads|build|live|drift`` prints a table; ``--n`` and ``--d`` change the
size. It reports medians with the fastest and slowest of the repeats, in microseconds, and CPU time where threads are
the point.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.clustered_vectors import clustered, unit
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.drift import assignment_drift, misfit
from clipsearch.index.exact import top_k
from clipsearch.index.flat import FlatIndex
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.kmeans import assign, kmeans
from clipsearch.index.lists import centroids_of
from clipsearch.index.live import LiveIndex
from clipsearch.index.matching import NearestByProduct
from clipsearch.index.rules import Kind, choose_shape
from clipsearch.index.storage import LoadedIndex, open_index
from clipsearch.index.threads import available_cores, limit_blas
from clipsearch.index.train import add, train
from clipsearch.index.tuning import find_truth, recall_of
from clipsearch.index.vectors import VectorFile


def compare(ways: dict[str, Callable[[], Any]], repeats: int = 60) -> None:
    """Time the ways in turn, so that a slow moment of the machine hits them all."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 3):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            if repeat >= 3:
                walls[name].append((time.perf_counter() - wall) * 1e6)
                cpus[name].append((time.process_time() - cpu) * 1e6)
    for name in ways:
        wall, cpu = np.array(walls[name]), np.array(cpus[name])
        print(
            f"  {name:<34} {np.median(wall):>9.0f}  ({wall.min():.0f} to {wall.max():.0f})   CPU {np.median(cpu):.0f}"
        )


def flat(n: int, d: int) -> None:
    """Ours, faiss.IndexFlatIP, and whole-row selection, on one thread."""
    data = clustered(n, d, 64)
    limit_blas(1)
    faiss.omp_set_num_threads(1)
    index, theirs = FlatIndex(data.base), faiss.IndexFlatIP(d)
    theirs.add(data.base)
    for batch in (1, 8, 32):
        queries = data.image_queries[:batch]
        scores = queries @ data.base.T
        print(f"{n} x {d}, {batch} queries, top 10")
        compare(
            {
                "FlatIndex": lambda queries=queries: index.search(queries, 10),
                "faiss.IndexFlatIP": lambda queries=queries: theirs.search(queries, 10),
                "selection: folded (top_k)": lambda scores=scores: top_k(scores, 10),
                "selection: numpy argpartition": lambda scores=scores: np.argpartition(scores, n - 10, axis=1),
            }
        )


def built(n: int, d: int, directory: Path) -> tuple[LoadedIndex, Any]:
    """Build and open a tuned IVF-PQ index of clustered vectors."""
    data = clustered(n, d, 1000)
    blocks = (data.base[start : start + 16384].astype(np.float16) for start in range(0, n, 16384))
    source = IndexSource(np.arange(n), d, blocks, map(str, range(n)), seq=1, text_queries=data.text_queries)
    wall, cpu = time.perf_counter(), time.process_time()
    manifest = build_index(directory, source, IndexOptions(kind=Kind.IVFPQ))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"built {n} x {d} in {wall:.1f} s ({cpu:.1f} s of CPU): {manifest.ivfpq}")
    print(f"  pictures {manifest.image_recall}\n  texts {manifest.text_recall}\n  bytes {manifest.bytes_per_item()}")
    return open_index(directory, "cpu", 1), data


def rerank(n: int, d: int) -> None:
    """Exact scores of the candidates: in C++ by faiss.IndexRefine, or gathered into numpy."""
    with tempfile.TemporaryDirectory() as name:
        loaded, data = built(n, d, Path(name))
        index = loaded.index
        assert isinstance(index, IvfPqIndex)
        faiss.omp_set_num_threads(1)
        limit_blas(1)
        ivf = faiss.read_index(str(loaded.path / "ivfpq.faiss"))
        for batch in (1, 32):
            for candidates in (40, 100):
                queries = data.image_queries[:batch]
                ivf.nprobe = index.nprobe
                rows = ivf.search(queries, candidates)[1]

                def gathered(rows: Any = rows, queries: Any = queries) -> Any:
                    return np.matmul(index.matrix[rows].astype(np.float32), queries[:, :, None])

                def einsum(rows: Any = rows, queries: Any = queries) -> Any:
                    return np.einsum("nkd,nd->nk", index.matrix[rows].astype(np.float32), queries)

                print(f"{batch} queries, {candidates} candidates each, nprobe {index.nprobe}")
                compare(
                    {
                        "IVF-PQ alone": lambda queries=queries, k=candidates: ivf.search(queries, k),
                        "IVF-PQ + re-rank (IndexRefine)": lambda queries=queries, k=candidates: index.search_with(
                            queries, 10, index.nprobe, k / 10
                        ),
                        "numpy re-rank alone, matmul": gathered,
                        "numpy re-rank alone, einsum": einsum,
                    }
                )


def threads(n: int, d: int) -> None:
    """One thread against two, in wall and CPU time: what spinning costs the rest of a server."""
    data = clustered(n, d, 64)
    index = FlatIndex(data.base)
    for batch in (1, 8, 32):
        queries = data.image_queries[:batch]
        for count in (1, 2):
            limit_blas(count)
            print(f"{n} x {d}, {batch} queries, {count} BLAS threads")
            compare({"FlatIndex": lambda queries=queries: index.search(queries, 10)})


def build(n: int, d: int) -> None:
    """Build time, then the tuned operating point against exact search."""
    with tempfile.TemporaryDirectory() as name:
        loaded, data = built(n, d, Path(name))
        index = loaded.index
        assert isinstance(index, IvfPqIndex)
        exact = FlatIndex(index.matrix)
        with ThreadPoolExecutor(1) as pool:
            truth = find_truth(data.text_queries, None, index.matrix, pool)
        for nprobe in (8, 16, 32, 64):
            found = [recall_of(index, truth, nprobe, overfetch).mean() for overfetch in (1.0, 2.0, 4.0, 10.0, 20.0)]
            print(f"  texts, nprobe {nprobe}, overfetch 1, 2, 4, 10, 20: {np.round(found, 4).tolist()}")
        for count in (1, 2):
            limit_blas(count)
            index.threads = count
            for batch in (1, 32, 64):
                queries = data.image_queries[:batch]
                print(f"{batch} queries, {count} threads")
                compare(
                    {
                        "IVF-PQ as tuned": lambda queries=queries: index.search(queries, 10),
                        "exact": lambda queries=queries: exact.search(queries, 10),
                    },
                    20,
                )


def live(n: int, d: int) -> None:
    """What a view adds to a search of its base, by itself and with a delta and tombstones, and what writes cost."""
    rng = np.random.default_rng(0)
    nothing, no_vectors = np.empty(0, dtype=np.int64), np.empty((0, d), dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        loaded, data = built(n, d, Path(name))
        index, rows = loaded.index, np.arange(0, 2 * n, 2)
        limit_blas(1)
        newer, dead = 2 * n + np.arange(10_000), rng.choice(rows, n // 100, replace=False)
        new = clustered(10_000, d, 1, seed=1).base
        states = {"view, nothing since": (nothing, no_vectors, nothing), "view, 1 % dead": (nothing, no_vectors, dead)}
        states["view, delta of 10,000"] = (newer, new, nothing)
        states["view, both"] = (newer, new, dead)
        lives = {state: LiveIndex(d, index, rows, 1) for state in states}
        for state, (added, vectors, removed) in states.items():
            lives[state].apply(added, vectors, removed, 2)
        for batch in (1, 64):
            queries = data.image_queries[:batch]
            print(f"{n} x {d}, {batch} queries, top 10")
            ways: dict[str, Callable[[], Any]] = {"bare base": lambda queries=queries: index.search(queries, 10)}
            for state, live_index in lives.items():
                ways[state] = lambda queries=queries, view=live_index.view: view.search(queries, 10)
            compare(ways, 300 if batch == 1 else 20)
        seqs = itertools.count(3)

        def update() -> None:
            seq = next(seqs)
            lives["view, both"].apply(np.array([4 * n + seq]), new[:1], rows[seq : seq + 1], seq)

        print("writes to the one with both")
        compare({"an update (one row added, one removed)": update}, 300)
        tiny = FlatIndex(new[:10])
        view = LiveIndex(d, tiny, np.arange(0, 20, 2), 1).view
        print("overhead alone, on a base of ten vectors")
        query = data.image_queries[:1]
        compare({"bare base": lambda: tiny.search(query, 10), "view": lambda: view.search(query, 10)}, 3000)


def drift(n: int, d: int) -> None:
    """Recall of vectors added to lists and codes that were trained without their like."""
    data, rng = clustered(n, d, 1), np.random.default_rng(0)
    limit_blas(1)
    with ThreadPoolExecutor(available_cores()) as pool:
        centres = kmeans(data.base[:20_000], 12, pool, iterations=5, seed=3)
        cluster_of = assign(data.base, NearestByProduct(centres), pool)
        held_out = np.isin(cluster_of, np.argsort(np.bincount(cluster_of, minlength=12))[4:8])
        old, unseen = data.base[~held_out], data.base[held_out]
        trained_on = old.astype(np.float16)
        ivf = train(trained_on, choose_shape(len(old), d), 0, pool, lambda *_: None)
        add(ivf, trained_on, np.arange(len(old), dtype=np.int64), pool, lambda *_: None)
        centroids = centroids_of(ivf)
        m = min(len(unseen), n // 5)
        noise = rng.standard_normal((m, d), dtype=np.float32) * np.float32(0.23 / d**0.5)
        other = clustered(m, d, 1, seed=1).base
        for name, new in (
            ("as trained, with noise", unit(old[rng.choice(len(old), m)] + noise)),
            ("clusters not trained on", unseen[:m]),
            ("other data", other),
        ):
            matrix = np.concatenate([old, new]).astype(np.float16)
            stored = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
            stored.add_sa_codes(matrix.view(np.uint8))
            added = faiss.clone_index(ivf)
            added.add(new)
            index = IvfPqIndex(added, VectorFile(matrix, stored), nprobe=16, overfetch=2.0)
            own = rng.choice(np.arange(len(old), len(matrix)), 300, replace=False)
            truth = find_truth(index.vectors(own), own, matrix, pool)
            recalls = [round(float(recall_of(index, truth, nprobe, 2.0).mean()), 3) for nprobe in (8, 16, 32)]
            measured = assignment_drift(new[:2000], centroids, misfit(old[:2000], centroids))
            print(f"  {name:<24} drift {measured:.2f}, recall@10 of the new at nprobe 8, 16, 32: {recalls}")


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["flat", "rerank", "threads", "build", "live", "drift"])
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--d", type=int, default=64)
    arguments = parser.parse_args()
    ways = {"flat": flat, "rerank": rerank, "threads": threads, "build": build, "live": live, "drift": drift}
    ways[arguments.what](arguments.n, arguments.d)


if __name__ == "__main__":
    main()
