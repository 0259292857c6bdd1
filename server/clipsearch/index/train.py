"""Training an IVF-PQ index and filling it, from a memory-mapped matrix."""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from clipsearch.index.inverted import empty_ivfpq
from clipsearch.index.kmeans import Match, assign, kmeans
from clipsearch.index.lists import centroids_of
from clipsearch.index.matching import NearestByProduct
from clipsearch.index.rules import POINTS_PER_CODEWORD, IvfPqShape
from clipsearch.index.tuning import Report, counting
from clipsearch.ports import Rows, Vectors

ITERATIONS = 10
"""k-means steps, of the lists and of the codewords; FAISS takes 10 and 25, and re-ranking hides the difference."""

BLOCK = 16_384
"""Vectors converted to float32 and added at once."""

CODEWORDS = 256
"""One byte per sub-vector."""


def train(
    matrix: NDArray[np.float16],
    shape: IvfPqShape,
    seed: int,
    pool: Executor,
    report: Report,
    *,
    match: Match = NearestByProduct,
) -> Any:
    """Return an empty ``faiss.IndexIVFPQ`` trained on a sample of ``matrix`` [N, d]; ``match`` finds points' lists."""
    rng = np.random.default_rng(seed)
    # Sorted: a memory-mapped file is read front to back.
    sample: Vectors = matrix[np.sort(rng.choice(len(matrix), shape.sample, replace=False))].astype(np.float32)
    progress = counting(report, "training", ITERATIONS + shape.m)
    progress(0)
    centroids = kmeans(sample, shape.nlist, pool, iterations=ITERATIONS, seed=seed, match=match, progress=progress)
    points = sample[rng.choice(len(sample), min(len(sample), CODEWORDS * POINTS_PER_CODEWORD), replace=False)]
    residuals = points - centroids[assign(points, match(centroids), pool)]
    return empty_ivfpq(centroids, _codewords(residuals, shape.m, seed, pool, progress))


def add(
    ivf: Any,
    matrix: NDArray[np.float16],
    positions: Rows,
    pool: Executor,
    report: Report,
    *,
    match: Match = NearestByProduct,
) -> None:
    """Fill a trained index with the vectors at ``positions`` int64 of ``matrix`` [N, d], a block at a time."""
    matcher = match(centroids_of(ivf))
    for start in range(0, len(positions), BLOCK):
        some = positions[start : start + BLOCK]
        block: Vectors = matrix[some].astype(np.float32)
        labels = assign(block, matcher, pool)
        ivf.add_core(len(block), faiss.swig_ptr(block), faiss.swig_ptr(some), faiss.swig_ptr(labels))
        report("adding", start + len(block), len(positions))


def _codewords(residuals: Vectors, m: int, seed: int, pool: Executor, progress: Callable[[int], None]) -> Vectors:
    """Return the product quantiser's codewords, float32 [m, CODEWORDS, d / m]: a k-means for each sub-vector."""

    def one(part: int) -> Vectors:
        points = np.ascontiguousarray(residuals.reshape(len(residuals), m, -1)[:, part])
        if len(points) < CODEWORDS:
            # Fewer points than codewords: each is its own codeword, and the rest are copies that are never chosen.
            points = np.resize(points, (CODEWORDS, points.shape[1]))
        return kmeans(points, CODEWORDS, None, iterations=ITERATIONS, seed=seed + 1 + part, spherical=False)

    found = []
    for codewords in pool.map(one, range(m)):
        found.append(codewords)
        progress(1)
    return np.stack(found)
