"""Spherical k-means in numpy, for the coarse quantiser.

FAISS has its own; it spends its time in the OpenBLAS that the faiss wheels carry, which on recent CPUs is 2 to 5 times
slower than numpy's (docs/index.md has the figures). Training a million vectors is minutes in that product, so it is
worth forty lines here. Each step is also a place to report progress and to stop.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clipsearch.ports import Vectors

Labels = NDArray[np.int64]

_BLOCK_FLOATS = 1 << 22
"""Products held at once: 16 MiB of float32, which stays in the last-level cache."""


def assign(points: Vectors, centroids: Vectors) -> tuple[Labels, NDArray[np.float32]]:
    """Return for each point the centroid of largest inner product, int64 [n], and that product, float32 [n]."""
    labels = np.empty(len(points), dtype=np.int64)
    best = np.empty(len(points), dtype=np.float32)
    step = max(1, _BLOCK_FLOATS // len(centroids))
    buffer = np.empty((step, len(centroids)), dtype=np.float32)
    for start in range(0, len(points), step):
        block = points[start : start + step]
        products = np.matmul(block, centroids.T, out=buffer[: len(block)])
        found = products.argmax(axis=1)
        labels[start : start + step] = found
        best[start : start + step] = products[np.arange(len(block)), found]
    return labels, best


def spherical_kmeans(
    points: Vectors, k: int, *, iterations: int = 12, seed: int = 0, progress: Callable[[int], None] | None = None
) -> Vectors:
    """Return ``k`` unit centroids of unit ``points`` [n, d], n >= k, found by Lloyd's iterations.

    Start: ``k`` distinct points at random. A centroid that loses all its points is put on the point that is worst
    served at that moment. ``progress`` is called with 1 after each iteration.
    """
    if len(points) < k:
        raise ValueError(f"{k} centroids need at least as many points, not {len(points)}")
    rng = np.random.default_rng(seed)
    centroids: Vectors = points[np.sort(rng.choice(len(points), k, replace=False))].copy()
    for _ in range(iterations):
        labels, best = assign(points, centroids)
        centroids = _sums(points, labels, k)
        empty = np.flatnonzero(np.bincount(labels, minlength=k) == 0)
        if len(empty):
            centroids[empty] = points[np.argsort(best, kind="stable")[: len(empty)]]
        # Opposite points can cancel out to nothing; such a centroid keeps no direction and attracts nothing.
        centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
        if progress is not None:
            progress(1)
    return centroids


def _sums(points: Vectors, labels: Labels, k: int) -> Vectors:
    """Sum the points of each label, float32 [k, d]; in blocks, so that the sorted copy stays small."""
    sums = np.zeros((k, points.shape[1]), dtype=np.float32)
    step = max(1, _BLOCK_FLOATS // points.shape[1])
    for start in range(0, len(points), step):
        block = labels[start : start + step]
        order = np.argsort(block, kind="stable")
        used, starts = np.unique(block[order], return_index=True)
        sums[used] += np.add.reduceat(points[start + order], starts, axis=0)
    return sums
