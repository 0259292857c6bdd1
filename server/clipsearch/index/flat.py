"""The exact index: every query is compared with every vector."""

import threading

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import NprobeOutOfRange, TopKOutOfRange
from clipsearch.index.exact import BLOCK_FLOATS, Scores, pad, top_k
from clipsearch.ports import ALL, Rows, Scanner, Vectors
from clipsearch.selection import Selection


def check_search(k: int, nprobe: int | None, max_nprobe: int) -> None:
    """Raise TopKOutOfRange or NprobeOutOfRange for arguments that no index takes."""
    if k < 1:
        raise TopKOutOfRange(f"top_k must be at least 1, not {k}", metadata={"top_k": str(k)})
    if nprobe is not None and not 1 <= nprobe <= max_nprobe:
        raise NprobeOutOfRange(
            f"nprobe must be between 1 and {max_nprobe}, not {nprobe}",
            metadata={"nprobe": str(nprobe), "max_nprobe": str(max_nprobe)},
        )


FEW_QUERIES = 16
"""Batches up to this size are multiplied the other way round."""

GATHER_UP_TO = 1 / 8
"""Selected share up to which the selected vectors are gathered, once, instead of scoring all and dropping the rest."""


class _Scratch(threading.local):
    """Score buffers of one thread, reused between calls.

    A fresh buffer of this size is page-faulted in each time, which costs more than the selection.
    """

    def __init__(self) -> None:
        self.products = np.empty(0, dtype=np.float32)
        self.scores = np.empty(0, dtype=np.float32)

    def hold(self, floats: int) -> None:
        if len(self.scores) < floats:
            self.products = np.empty(floats, dtype=np.float32)
            self.scores = np.empty(floats, dtype=np.float32)


_scratch = _Scratch()


def scan(queries: Vectors, vectors: Vectors, k: int, penalty: Scores | None = None) -> tuple[Scores, Rows]:
    """Score every vector [N, d], contiguous; return the best k as (scores [n, k], positions [n, k]), padded by ``pad``.

    ``penalty`` float32 [N] is added to the scores: 0, or -inf for a vector that may not be found.
    """
    size = len(vectors)
    kept = min(k, size)
    if len(queries) == 0 or kept == 0:
        empty = np.empty((len(queries), 0), dtype=np.float32)
        return pad(empty, np.empty((len(queries), 0), dtype=np.int64), k)
    step = max(1, BLOCK_FLOATS // size)
    parts = [
        _scan_block(queries[start : start + step], vectors, kept, penalty) for start in range(0, len(queries), step)
    ]
    scores = np.concatenate([part[0] for part in parts]) if len(parts) > 1 else parts[0][0]
    found = np.concatenate([part[1] for part in parts]) if len(parts) > 1 else parts[0][1]
    if penalty is not None:
        found[np.isneginf(scores)] = -1
    return pad(scores, found, k)


def _scan_block(queries: Vectors, vectors: Vectors, k: int, penalty: Scores | None) -> tuple[Scores, Rows]:
    n, size = len(queries), len(vectors)
    _scratch.hold(n * size)
    scores = _scratch.scores[: n * size].reshape(n, size)
    if n > FEW_QUERIES:
        np.matmul(queries, vectors.T, out=scores)
    else:
        # BLAS copies its right operand into its own layout on every call. With the queries there instead of the many
        # vectors a small batch takes about half the time; for a large one, turning the result round costs more.
        products = _scratch.products[: n * size].reshape(size, n)
        np.copyto(scores, np.matmul(vectors, queries.T, out=products).T)
    if penalty is not None:
        scores += penalty
    return top_k(scores, k)


def penalty_of(allowed: NDArray[np.bool_]) -> Scores:
    """Return what ``scan`` adds to the scores so that only what ``allowed``, bool [N], says is found."""
    return np.where(allowed, np.float32(0), np.float32(-np.inf))


def scan_selected(queries: Vectors, vectors: Vectors, k: int, only: Selection | None) -> tuple[Scores, Rows]:
    """Score the selected vectors on the CPU: a ``ports.Scanner``."""
    return scan(queries, vectors, k, None if only is None else only.derive("penalty", lambda: penalty_of(only.mask)))


class FlatIndex:
    """Exact search over float32 copies of the stored float16 vectors: 4·d bytes per item in memory.

    float32 because the product is then one BLAS call; converting per query would cost more than the search. Any number
    of threads may search at once.
    """

    max_nprobe, max_k = 1, ALL
    is_exact = True

    def __init__(self, vectors: NDArray[np.float16] | NDArray[np.float32]) -> None:
        """Take [N, d] vectors of unit length (copied to float32)."""
        self._vectors: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.size, self.dimension = self._vectors.shape

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says; ``nprobe`` is ignored."""
        check_search(k, None, self.max_nprobe)
        del nprobe
        if only is None or only.root.count > self.size * GATHER_UP_TO:
            return scan_selected(queries, self._vectors, k, only)
        positions, gathered = only.root.derive("gathered", lambda: self._gather(only.root))
        penalty = None
        if only is not only.root:
            penalty = only.derive("gathered penalty", lambda: penalty_of(only.contains(positions)))
        scores, found = scan(queries, gathered, k, penalty)
        return scores, np.where(found < 0, -1, positions.take(found, mode="clip")) if len(positions) else found

    def search_exactly(self, queries: Vectors, k: int, only: Selection | None = None) -> tuple[Scores, Rows]:
        """Return as ``search`` does, which misses nothing."""
        return self.search(queries, k, only=only)

    def scanner(self) -> Scanner:
        """Return what compares with vectors that come later, on the CPU."""
        return scan_selected

    def _gather(self, root: Selection) -> tuple[Rows, Vectors]:
        positions = root.positions
        return positions, self._vectors[positions]

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        return self._vectors[positions]
