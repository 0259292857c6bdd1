"""The exact index: every query is compared with every vector."""

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import NprobeOutOfRange, TopKOutOfRange
from clipsearch.index.exact import BLOCK_FLOATS, Scores, pad, top_k
from clipsearch.ports import Rows, Vectors


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


class FlatIndex:
    """Exact search over float32 copies of the stored float16 vectors: 4·d bytes per item in memory.

    float32 because the product is then one BLAS call; converting per query would cost more than the search.
    """

    max_nprobe = 1

    def __init__(self, vectors: NDArray[np.float16] | NDArray[np.float32]) -> None:
        """Take [N, d] vectors of unit length (copied to float32)."""
        self._vectors: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.size, self.dimension = self._vectors.shape
        # Reused between calls: a fresh buffer of this size is page-faulted in each time, which costs more than the
        # selection. One caller at a time is the contract.
        self._products = np.empty(0, dtype=np.float32)
        self._scores = np.empty(0, dtype=np.float32)

    def search(self, queries: Vectors, k: int, nprobe: int | None = None) -> tuple[Scores, Rows]:
        """Return (scores [n, k], rows [n, k]) as ports.VectorIndex says; ``nprobe`` is ignored."""
        check_search(k, None, self.max_nprobe)
        del nprobe
        kept = min(k, self.size)
        if len(queries) == 0 or kept == 0:
            empty = np.empty((len(queries), 0), dtype=np.float32)
            return pad(empty, np.empty((len(queries), 0), dtype=np.int64), k)
        step = max(1, BLOCK_FLOATS // self.size)
        parts = [self._block(queries[start : start + step], kept) for start in range(0, len(queries), step)]
        scores = np.concatenate([part[0] for part in parts]) if len(parts) > 1 else parts[0][0]
        rows = np.concatenate([part[1] for part in parts]) if len(parts) > 1 else parts[0][1]
        return pad(scores, rows, k)

    def _block(self, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        n = len(queries)
        if len(self._scores) < n * self.size:
            self._products = np.empty(n * self.size, dtype=np.float32)
            self._scores = np.empty(n * self.size, dtype=np.float32)
        scores = self._scores[: n * self.size].reshape(n, self.size)
        if n > FEW_QUERIES:
            return top_k(np.matmul(queries, self._vectors.T, out=scores), k)
        # BLAS copies its right operand into its own layout on every call. With the queries there instead of the many
        # vectors a small batch takes about half the time; for a large one, turning the result round costs more.
        products = self._products[: n * self.size].reshape(self.size, n)
        np.copyto(scores, np.matmul(self._vectors, queries.T, out=products).T)
        return top_k(scores, k)

    def vectors(self, rows: Rows) -> Vectors:
        """Return the stored vectors of ``rows``, float32 [n, d]."""
        return self._vectors[rows]
