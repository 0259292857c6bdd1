"""k-means in numpy, for the coarse quantiser (spherical) and the product codewords (Euclidean).

What costs is comparing points with centroids: that may be done by a GPU (see ``matching``), all else is summing up.

FAISS has its own; it spends its time in the OpenBLAS that the faiss wheels carry, which takes recent CPUs for a
Prescott and is 3 to 5 times slower than numpy's, and in OpenMP teams that spin when cores are shared (docs/index.md has
the figures). Here the product of one block runs on one BLAS thread, and blocks run side by side in a thread pool:
nothing spins, and each step is a place to report progress and to stop.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.matching import Labels, Matcher, NearestByDistance, NearestByProduct
from clipsearch.ports import Vectors

Match = Callable[[Vectors], Matcher]
"""Makes what compares points with some centroids."""

_Part = tuple[Labels, Vectors, NDArray[np.int64]]
"""Of some points: the centroids that they are nearest to, the sums of their points, and how many."""


def assign(points: Vectors, matcher: Matcher, pool: Executor) -> Labels:
    """Return the nearest centroid of each point, int64 [n]."""
    starts = range(0, len(points), matcher.block)
    parts = pool.map(lambda start: matcher(points[start : start + matcher.block]), starts)
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def kmeans(
    points: Vectors,
    k: int,
    pool: Executor | None,
    *,
    iterations: int,
    seed: int,
    spherical: bool = True,
    match: Match | None = None,
    progress: Callable[[int], None] | None = None,
) -> Vectors:
    """Return ``k`` centroids of ``points`` [n, d], n >= k, found by Lloyd's iterations; unit vectors if ``spherical``.

    ``match`` compares points with centroids, by default on the CPU: by product if ``spherical``, else by distance.
    Start: ``k`` distinct points at random; a centroid that loses all its points starts again at another. ``progress``
    is called with 1 after each iteration and with 0 within; what it raises ends the training. Without a ``pool`` all
    runs on the calling thread.
    """
    if len(points) < k:
        raise ValueError(f"{k} centroids need at least as many points, not {len(points)}")
    rng = np.random.default_rng(seed)
    centroids: Vectors = points[np.sort(rng.choice(len(points), k, replace=False))].copy()
    match = match or (NearestByProduct if spherical else NearestByDistance)
    for _ in range(iterations):
        sums, counts = np.zeros_like(centroids), np.zeros(k, dtype=np.int64)
        for used, some_sums, some_counts in _parts(points, match(centroids), pool):
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


def _parts(points: Vectors, matcher: Matcher, pool: Executor | None) -> Iterator[_Part]:
    """Yield each block's share of an iteration."""

    def one(start: int) -> _Part:
        block = points[start : start + matcher.block]
        labels = matcher(block)
        order = np.argsort(labels, kind="stable")
        used, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
        return used, np.add.reduceat(block[order], starts, axis=0), counts

    starts = range(0, len(points), matcher.block)
    yield from map(one, starts) if pool is None else pool.map(one, starts)
