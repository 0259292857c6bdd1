"""The measurements behind the choices in docs/index.md, each in one process, alternatives interleaved.

``python -m benchmarks.index_parts flat|rerank|threads|build`` prints a table; ``--n`` and ``--d`` change the size. It
reports medians with the fastest and slowest of the repeats, in microseconds, and CPU time where threads are the point.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.clustered_vectors import clustered
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.exact import top_k
from clipsearch.index.flat import FlatIndex
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.rules import Kind
from clipsearch.index.storage import LoadedIndex, open_index
from clipsearch.index.threads import limit_blas
from clipsearch.index.tuning import find_truth, recall_of


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


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["flat", "rerank", "threads", "build"])
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--d", type=int, default=64)
    arguments = parser.parse_args()
    {"flat": flat, "rerank": rerank, "threads": threads, "build": build}[arguments.what](arguments.n, arguments.d)


if __name__ == "__main__":
    main()
