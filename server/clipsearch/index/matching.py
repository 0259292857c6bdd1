"""The nearest of many centroids: what training and filling an index spend their time on."""

import threading
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.ports import Vectors

Labels = NDArray[np.int64]

_BLOCK_FLOATS: Final = 1 << 20
"""Products held at once by each thread: 4 MiB of float32, about a second-level cache."""

FAISS_BLOCK: Final = 1 << 14
"""Points that a FAISS index is asked about at once: not more, so that searches of the same GPU get their turn."""


class Matcher(Protocol):
    """Knows some centroids. Thread-safe."""

    block: int
    """Points to ask about at once."""

    def __call__(self, points: Vectors) -> Labels:
        """Return the nearest centroid of each point, int64 [n]."""
        ...


class NearestByProduct:
    """By inner product, in numpy on the calling thread."""

    def __init__(self, centroids: Vectors) -> None:
        """Compare with ``centroids`` float32 [k, d]."""
        self._centroids = centroids
        self.block = max(1, _BLOCK_FLOATS // len(centroids))

    def __call__(self, points: Vectors) -> Labels:
        """See Matcher."""
        labels: Labels = (points @ self._centroids.T).argmax(axis=1)
        return labels


class NearestByDistance(NearestByProduct):
    """By Euclidean distance, in numpy on the calling thread."""

    def __init__(self, centroids: Vectors) -> None:
        """Compare with ``centroids`` float32 [k, d]."""
        super().__init__(centroids)
        # |p - c|² / 2 = |p|² / 2 - p·c + |c|² / 2, so the nearest centroid has the largest p·c - |c|² / 2.
        self._half_squares = np.square(centroids).sum(axis=1) / np.float32(2)

    def __call__(self, points: Vectors) -> Labels:
        """See Matcher."""
        products = points @ self._centroids.T
        products -= self._half_squares
        labels: Labels = products.argmax(axis=1)
        return labels


class NearestByFaiss:
    """By inner product, with a flat FAISS index, which may lie on a GPU and is asked by one thread at a time."""

    block = FAISS_BLOCK

    def __init__(self, empty: Any, centroids: Vectors) -> None:
        """Fill an ``empty`` index for inner products with ``centroids`` float32 [k, d]."""
        empty.add(np.ascontiguousarray(centroids))
        self._index, self._asking = empty, threading.Lock()

    def __call__(self, points: Vectors) -> Labels:
        """See Matcher."""
        with self._asking:
            labels: Labels = self._index.search(np.ascontiguousarray(points), 1)[1][:, 0]
        return labels
