"""k-means in numpy, for the coarse quantiser (spherical) and the product codewords (Euclidean).

FAISS has its own; it spends its time in the OpenBLAS that the faiss wheels carry, which takes recent CPUs for a
Prescott and is 3 to 5 times slower than numpy's, and in OpenMP teams that spin when cores are shared (docs/index.md has
the figures). Here the product of one block runs on one BLAS thread, and blocks run side by side in a thread pool:
nothing spins, and each step is a place to report progress and to stop.
"""

import functools
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from clipsearch.ports import Vectors

Labels = NDArray[np.int64]

_BLOCK_FLOATS = 1 << 20
"""Products held at once by each thread: 4 MiB of float32, about a second-level cache."""


def assign(points: Vectors, centroids: Vectors, pool: Executor, *, spherical: bool = True) -> Labels:
    """Return the nearest centroid of each point, int64 [n]: by inner product, or by Euclidean distance."""
    step = max(1, _BLOCK_FLOATS // len(centroids))
    starts = range(0, len(points), step)
    offsets = None if spherical else _half_squares(centroids)
    parts = pool.map(lambda start: _nearest(points[start : start + step], centroids, offsets), starts)
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def kmeans(
    points: Vectors,
    k: int,
    pool: Executor | None,
    *,
    iterations: int,
    seed: int,
    spherical: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Vectors:
    """Return ``k`` centroids of ``points`` [n, d], n >= k, found by Lloyd's iterations; unit vectors if ``spherical``.

    Start: ``k`` distinct points at random; a centroid that loses all its points starts again at another. ``progress``
    is called with 1 after each iteration and with 0 within; what it raises ends the training. Without a ``pool`` all
    runs on the calling thread.
    """
    if len(points) < k:
        raise ValueError(f"{k} centroids need at least as many points, not {len(points)}")
    rng = np.random.default_rng(seed)
    centroids: Vectors = points[np.sort(rng.choice(len(points), k, replace=False))].copy()
    step = max(1, _BLOCK_FLOATS // k)
    blocks = [points[start : start + step] for start in range(0, len(points), step)]
    for _ in range(iterations):
        sums, counts = np.zeros_like(centroids), np.zeros(k, dtype=np.int64)
        work = functools.partial(_part, centroids=centroids, offsets=None if spherical else _half_squares(centroids))
        for used, some_sums, some_counts in map(work, blocks) if pool is None else pool.map(work, blocks):
            sums[used] += some_sums
            counts[used] += some_counts
            if progress is not None:
                progress(0)  # an iteration over a large sample takes many seconds
        empty = np.flatnonzero(counts == 0)
        sums[empty], counts[empty] = points[rng.choice(len(points), len(empty), replace=False)], 1
        # Opposite points can cancel out to nothing; such a centroid keeps no direction and attracts nothing.
        scale = np.maximum(np.linalg.norm(sums, axis=1), 1e-12) if spherical else counts
        centroids = sums / scale[:, None].astype(np.float32)
        if progress is not None:
            progress(1)
    return centroids


def _part(
    block: Vectors, centroids: Vectors, offsets: NDArray[np.float32] | None
) -> tuple[Labels, Vectors, NDArray[np.int64]]:
    """Return one block's share of an iteration: the centroids it uses, the sums of their points, and how many."""
    labels = _nearest(block, centroids, offsets)
    order = np.argsort(labels, kind="stable")
    used, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    return used, np.add.reduceat(block[order], starts, axis=0), counts


def _nearest(block: Vectors, centroids: Vectors, offsets: NDArray[np.float32] | None) -> Labels:
    products = block @ centroids.T
    if offsets is not None:
        products -= offsets
    labels: Labels = products.argmax(axis=1)
    return labels


def _half_squares(x: Vectors) -> NDArray[np.float32]:
    # |p - c|² / 2 = |p|² / 2 - p·c + |c|² / 2, so the nearest centroid has the largest p·c - |c|² / 2.
    halves: NDArray[np.float32] = np.square(x).sum(axis=1) / np.float32(2)
    return halves
