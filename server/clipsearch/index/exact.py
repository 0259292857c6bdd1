"""Exact search in numpy: one BLAS product, then a selection that reads the scores once.

Used by the flat index and to find the ground truth that tuning measures against. ``faiss.IndexFlatIP`` would do the
same; measured on this path it is 2 to 6 times slower in batches, because the OpenBLAS inside the faiss wheels does not
know recent CPUs and falls back to kernels without AVX (see docs/index.md).
"""

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from clipsearch.ports import Rows, Vectors

Scores = NDArray[np.float32]

BLOCK_FLOATS = 1 << 23
"""Scores held at once by each thread: 32 MiB of float32."""

_FOLD_FROM = 1 << 17
"""Scores from which folding pays, measured at 5,000 and 20,000 columns."""


def top_k(scores: Scores, k: int) -> tuple[Scores, Rows]:
    """Return the ``k`` largest of each row and their columns, best first: float32 [n, k] and int64 [n, k].

    Needs 1 <= k <= columns. Where there is much to read, columns are first folded into groups whose maxima are taken
    in one vectorised pass: each of the k best lies in one of the k groups with the largest maxima, so only those are
    looked at again. That is exact, and 2 to 3 times cheaper than partitioning whole rows; on little it costs more.
    """
    n, columns = scores.shape
    fold = int((columns / k) ** 0.5)
    width = columns // fold
    if scores.size < _FOLD_FROM or fold < 4:
        return _partition(scores, k)
    maxima = scores[:, : fold * width].reshape(n, fold, width).max(axis=1)
    groups = maxima.argpartition(width - k, axis=1)[:, width - k :]
    folded = (groups[:, :, None] + np.arange(0, fold * width, width)).reshape(n, -1)
    rest = np.broadcast_to(np.arange(fold * width, columns), (n, columns - fold * width))
    candidates = np.concatenate([folded, rest], axis=1)
    best, where = _partition(np.take_along_axis(scores, candidates, axis=1), k)
    return best, np.take_along_axis(candidates, where, axis=1)


def _partition(scores: Scores, k: int) -> tuple[Scores, Rows]:
    n, columns = scores.shape
    # Plain indexing rather than take_along_axis: half the time on a single row, and single rows are what is served.
    row = np.arange(n)[:, None]
    where: Rows = scores.argpartition(columns - k, axis=1)[:, columns - k :]
    values = scores[row, where]
    order = (-values).argsort(axis=1, kind="stable")
    return values[row, order], where[row, order]


def pad(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """Widen results to ``k`` columns with row -1 and score -inf."""
    missing = k - scores.shape[1]
    if missing <= 0:
        return scores, rows
    widths = ((0, 0), (0, missing))
    return np.pad(scores, widths, constant_values=-np.inf), np.pad(rows, widths, constant_values=-1)


def in_order(scores: Scores, rows: Rows) -> tuple[Scores, Rows]:
    """Put rows of equal score, int64 [n, k], in ascending order; scores float32 [n, k] are in order already."""
    # Looking costs 2 µs, sorting ten times that, and equal scores are rare.
    if not np.count_nonzero(scores[:, 1:] == scores[:, :-1]):
        return scores, rows
    return _sorted(scores, rows)


def _sorted(scores: Scores, rows: Rows) -> tuple[Scores, Rows]:
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def merged(parts: list[tuple[Scores, Rows]], k: int) -> tuple[Scores, Rows]:
    """Return the best ``k`` of several answers to the same queries, in order."""
    scores, rows = _sorted(
        np.concatenate([part[0] for part in parts], axis=1), np.concatenate([part[1] for part in parts], axis=1)
    )
    # Copies: a slice would keep all that was merged in memory for as long as the answer is kept.
    return scores[:, :k].copy(), rows[:, :k].copy()


def exact_top_k(
    queries: Vectors,
    base: NDArray[np.float16] | NDArray[np.float32],
    k: int,
    pool: Executor,
    progress: Callable[[int], None] | None = None,
) -> tuple[Scores, Rows]:
    """Search ``base`` [N, d] exactly, in blocks, so that a memory-mapped float16 matrix is read once in order.

    Returns float32 [n, k] inner products and int64 [n, k] rows, best first, padded as ``pad`` does. Blocks run side by
    side in the pool. ``progress`` is called with the number of base rows done in each step.
    """
    n, total = len(queries), len(base)
    best: Scores = np.empty((n, 0), dtype=np.float32)
    rows: Rows = np.empty((n, 0), dtype=np.int64)
    if n == 0 or total == 0:
        return pad(best, rows, k)
    step = max(1, min(BLOCK_FLOATS // n, BLOCK_FLOATS // base.shape[1]))

    def search(start: int) -> tuple[Scores, Rows]:
        block = base[start : start + step].astype(np.float32, copy=False)
        found, where = top_k(queries @ block.T, min(k, len(block)))
        return found, where + start

    starts = range(0, total, step)
    for start, (found, where) in zip(starts, pool.map(search, starts), strict=True):
        best, rows = np.concatenate([best, found], axis=1), np.concatenate([rows, where], axis=1)
        if best.shape[1] > k:
            best, kept = _partition(best, k)
            rows = np.take_along_axis(rows, kept, axis=1)
        if progress is not None:
            progress(min(step, total - start))
    return pad(best, rows, k)
