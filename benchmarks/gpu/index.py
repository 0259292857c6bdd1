"""IVF-PQ with exact re-rank on a GPU: build, recall@10, queries a second by batch, memory; CPU and CAGRA beside.

python benchmarks/gpu/index.py --out DIR [--n 1000000] [--d 512] [--cagra] [--cpu]
"""

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cupy
import faiss
import numpy as np

from clipsearch.cuda import HandedVectors, Room
from clipsearch.index.flat import scan_selected
from clipsearch.index.gpu import VECTORS_SHARE, copied, uses_cuvs
from clipsearch.index.gpu_device import SCRATCH_BYTES, Device, NewerVectors
from clipsearch.index.gpu_index import GpuIvfPqIndex
from clipsearch.index.gpu_matching import match_for
from clipsearch.index.inverted import empty_like
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.rerank import GpuVectors, place
from clipsearch.index.rules import choose_shape
from clipsearch.index.threads import available_cores, limit_blas
from clipsearch.index.train import add, train
from clipsearch.index.vectors import VectorFileWriter, open_vectors
from clipsearch.selection import Selection

QUERIES = 4096
JUDGED = 1024
TARGET = 0.95
ADDED_AT_ONCE = 1 << 18


def make_vectors(path: Path, n: int, d: int, seed: int = 0) -> Any:
    """Write vectors clustered as benchmarks/clustered_vectors.py makes them, but on the GPU; returns queries."""
    rng = cupy.random.default_rng(seed)
    fine = max(8, int(2 * n**0.5))
    spectrum = cupy.arange(1, d + 1, dtype=cupy.float32) ** -0.5
    spectrum *= cupy.sqrt(d / cupy.square(spectrum).sum())
    basis = cupy.linalg.qr(rng.standard_normal((d, d), dtype=cupy.float32))[0] * spectrum[:, None]

    def noise(count: int) -> Any:
        return (rng.standard_normal((count, d), dtype=cupy.float32) @ basis) / d**0.5

    parents = noise(int(fine**0.5))
    centres = parents[rng.integers(0, len(parents), fine)] + 0.8 * noise(fine)
    weights = cupy.cumsum(1.0 / cupy.arange(1, fine + 1) ** 0.7)
    weights /= weights[-1]
    offset = noise(1)
    offset *= 1.2 / cupy.linalg.norm(offset)

    def pictures(count: int) -> Any:
        of = cupy.minimum(cupy.searchsorted(weights, rng.random(count)), fine - 1)
        x = offset + centres[of] + 0.7 * noise(count)
        return x / cupy.linalg.norm(x, axis=1, keepdims=True)

    with VectorFileWriter(path, n, d) as writer:
        for start in range(0, n, ADDED_AT_ONCE):
            writer.append(cupy.asnumpy(pictures(min(ADDED_AT_ONCE, n - start)).astype(cupy.float16)))
    return cupy.asnumpy(pictures(QUERIES)).astype(np.float32)


def timed(what: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds it took."""
    began = time.perf_counter()
    made = what()
    cupy.cuda.runtime.deviceSynchronize()
    return made, round(time.perf_counter() - began, 3)


def handed(part: np.ndarray[Any, Any]) -> HandedVectors:
    """Return queries as a tower hands them over: they lie on the GPU already."""
    return HandedVectors.of(part, cupy.asarray(part))


def rate(
    search: Callable[[np.ndarray[Any, Any]], object],
    queries: np.ndarray[Any, Any],
    batch: int,
    s: float,
    made: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = np.ascontiguousarray,
) -> Any:
    """Return queries a second and milliseconds per call at one batch size, one caller; ``made`` makes each call's."""
    parts = [made(queries[i : i + batch]) for i in range(0, len(queries) - batch + 1, batch)]
    for part in parts[:2]:
        search(part)
    took: list[float] = []
    stop = time.perf_counter() + s
    while time.perf_counter() < stop:
        began = time.perf_counter()
        search(parts[len(took) % len(parts)])
        took.append(time.perf_counter() - began)
    return {
        "batch": batch,
        "queries_s": round(batch * len(took) / sum(took), 1),
        "p50_ms": round(float(np.median(took)) * 1e3, 3),
        "p99_ms": round(float(np.quantile(took, 0.99)) * 1e3, 3),
    }


def recall(found: Any, truth: Any) -> float:
    """Return the mean share of the true ten that were found."""
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def used_bytes() -> int:
    """Return the bytes of the card that are taken."""
    free, total = cupy.cuda.runtime.memGetInfo()
    return int(total - free)


def placed(device: Device, matrix: Any) -> GpuVectors:
    """Return the vectors on the GPU, or in page-locked memory where they are too many."""
    with device.current():
        return place(matrix, int(Room.now(cupy).free * VECTORS_SHARE))


def filled_on_gpu(ivf: Any, matrix: Any, device: Device) -> Any:
    """Return the trained index on the GPU, filled there."""
    on_gpu = copied(ivf, device)
    for start in range(0, len(matrix), ADDED_AT_ONCE):
        on_gpu.add(matrix[start : start + ADDED_AT_ONCE].astype(np.float32))
    return on_gpu


def settings_for(index: GpuIvfPqIndex, queries: Any, truth: Any) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return recall over a grid, and the cheapest setting that reaches the target."""
    grid, chosen = [], None
    for nprobe in (8, 16, 32, 64, 128):
        for overfetch in (4.0, 10.0, 20.0):
            index.nprobe, index.overfetch = nprobe, overfetch
            found = index.search(queries, 10)[1]
            took = timed(lambda: index.search(queries, 10))[1]
            reached = {"nprobe": nprobe, "overfetch": overfetch, "recall": round(recall(found, truth), 4), "s": took}
            grid.append(reached)
            if reached["recall"] >= TARGET and (chosen is None or took < chosen["s"]):
                chosen = reached
    return grid, chosen


def cagra(matrix: Any, queries: Any, truth: Any, resources: Any) -> dict[str, Any]:
    """Build and search FAISS's CAGRA over the same vectors."""
    before = used_bytes()
    config = faiss.GpuIndexCagraConfig()
    config.graph_degree, config.intermediate_graph_degree = 32, 64
    index = faiss.GpuIndexCagra(resources, matrix.shape[1], faiss.METRIC_INNER_PRODUCT, config)
    _, build_s = timed(lambda: index.train(matrix.astype(np.float32)))
    figures = {"build_s": build_s, "bytes": used_bytes() - before, "rates": []}
    wanted = faiss.SearchParametersCagra()
    for size in (32, 64, 128, 256):
        wanted.itopk_size = size
        figures["itopk"], figures["recall"] = size, recall(index.search(queries[:JUDGED], 10, params=wanted)[1], truth)
        if figures["recall"] >= TARGET:
            break
    for batch in (1, 256, 1024):
        figures["rates"].append(rate(lambda part: index.search(part, 10, params=wanted), queries, batch, 0.5))
    return figures


def filtered(index: GpuIvfPqIndex, queries: Any) -> dict[str, Any]:
    """Return recall and rate where a tenth is selected, and whether nothing else was found."""
    only = Selection.of(index.size, np.flatnonzero(np.random.default_rng(1).random(index.size) < 0.1))
    _, right = index.search_exactly(queries[:JUDGED], 10, only)
    found = index.search(queries[:JUDGED], 10, only=only)[1]
    return {
        "share": 0.1, "recall": recall(found, right), "all_selected": bool(only.contains(found).all()),
        **rate(lambda part: index.search(part, 10, only=only), queries, 256, 0.5),
    }  # fmt: skip


def newer_rates(device: Device, matrix: Any, queries: Any) -> list[dict[str, Any]]:
    """Return the rates at which vectors that came after the index are compared, on the GPU and on the CPU."""
    rates = []
    for count in (size for size in (1_000, 10_000, 40_000) if size <= len(matrix)):
        vectors = matrix[:count].astype(np.float32)
        # Tombstones as a delta has them: a few, so that bits are looked at as well.
        alive = Selection.everything(count).without(np.arange(0, count, 100, dtype=np.int64))
        for where, scan in (("gpu", NewerVectors(device)), ("cpu", scan_selected)):
            for batch in (1, 64):
                found = rate(lambda part, scan=scan: scan(part, vectors, 10, alive), queries, batch, 0.3)  # noqa: B023
                rates.append({"vectors": count, "where": where, **found})
    return rates


def on_cpu(trained: Any, vectors: Any, gpu: GpuIvfPqIndex, queries: Any, truth: Any) -> dict[str, Any]:
    """Fill the same trained index on the CPU, and search it with the same settings and every core."""
    cores = available_cores()
    with ThreadPoolExecutor(cores) as pool:
        _, add_s = timed(lambda: add(trained, vectors.matrix, np.arange(len(vectors.matrix)), pool, lambda *a: None))
    twin = IvfPqIndex(trained, vectors, nprobe=gpu.nprobe, overfetch=gpu.overfetch, threads=cores)
    found = twin.search(queries[:JUDGED], 10)[1]
    return {
        "add_s": add_s,
        "overlap": recall(found, gpu.search(queries[:JUDGED], 10)[1]),
        "recall": recall(found, truth),
        "rates": [rate(lambda part: twin.search(part, 10), queries, batch, 1.0) for batch in (1, 256)],
    }


def main() -> None:
    """Measure and write ``index-N.json``."""
    given = _arguments()
    n, d, cores = given.n, given.d, available_cores()
    out: dict[str, Any] = {"n": n, "d": d, "cuvs": uses_cuvs(), "cores": cores, "faiss": faiss.__version__,
                           "device": cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()}  # fmt: skip

    def keep(**more: Any) -> None:
        out.update(more)
        print(json.dumps(more), flush=True)
        (given.out / f"index-{n}.json").write_text(json.dumps(out, indent=1) + "\n")

    queries, made_s = timed(lambda: make_vectors(given.work / "vectors", n, d))
    vectors = open_vectors(given.work / "vectors", n, d)
    shape = choose_shape(n, d)
    keep(make_s=made_s, nlist=shape.nlist, m=shape.m)
    limit_blas(1)
    match = match_for("cuda")
    with ThreadPoolExecutor(cores) as pool:
        trained, train_s = timed(lambda: train(vectors.matrix, shape, 0, pool, lambda *a: None, match=match))
        everything = np.arange(n, dtype=np.int64)
        codes = empty_like(trained)
        _, code_s = timed(lambda: add(codes, vectors.matrix, everything, pool, lambda *a: None, match=match))
    keep(train_s=train_s, code_s=code_s)  # what a rebuild takes: its codes come back to the host
    before = used_bytes()
    device = Device(0)
    resident, load_s = timed(lambda: placed(device, vectors.matrix))
    vector_bytes = used_bytes() - before
    on_gpu, add_s = timed(lambda: filled_on_gpu(trained, vectors.matrix, device))
    keep(load_s=load_s, add_s=add_s, vector_bytes=vector_bytes, scratch_bytes=SCRATCH_BYTES,
         code_bytes=used_bytes() - before - vector_bytes, on_gpu=resident.on_gpu)  # fmt: skip
    index = GpuIvfPqIndex(on_gpu, device, vectors.matrix, resident, nprobe=32, overfetch=10.0)
    (_, truth), truth_s = timed(lambda: index.search_exactly(queries[:JUDGED], 10))
    keep(exact_s=truth_s)
    grid, chosen = settings_for(index, queries[:JUDGED], truth)
    keep(grid=grid, chosen=chosen)
    if chosen is not None:
        index.nprobe, index.overfetch = chosen["nprobe"], chosen["overfetch"]
    batches = (1, 16, 64, 256, 1024, 4096)
    keep(rates=[rate(lambda part: index.search(part, 10), queries, batch, 0.5) for batch in batches])
    keep(handed=[rate(lambda part: index.search(part, 10), queries, batch, 0.5, handed) for batch in (1, 64, 256)])
    keep(filtered=filtered(index, queries))
    keep(newer=newer_rates(device, vectors.matrix, queries))
    if given.cpu:
        keep(cpu=on_cpu(trained, vectors, index, queries, truth))
    if given.cagra:
        keep(cagra=cagra(vectors.matrix, queries, truth, device.resources))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/gpu-index"))
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--cagra", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    return given


if __name__ == "__main__":
    main()
