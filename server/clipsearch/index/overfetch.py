"""Searching only some positions where the device cannot leave any out: ask for more, drop, and make good exactly."""

from collections.abc import Callable

import numpy as np

from clipsearch.index.exact import Scores, pad
from clipsearch.index.planner import Way, plan_without_selector
from clipsearch.index.subset import search_selected
from clipsearch.index.vectors import VectorFile
from clipsearch.ports import Rows, Vectors
from clipsearch.selection import Selection

Search = Callable[[Vectors, int], tuple[Scores, Rows]]


def search_and_drop(
    search: Search, file: VectorFile, queries: Vectors, k: int, only: Selection, *, limit: int
) -> tuple[Scores, Rows]:
    """Return (scores [n, k], positions [n, k]) of selected vectors, padded with -inf and -1.

    ``search`` gives the best of all, at most ``limit`` per query. A query that is left with fewer than ``k`` although
    more are selected is answered exactly from the file's vectors.
    """
    plan = plan_without_selector(only.size, only.count, k, limit)
    if plan.way is Way.EXACT or len(queries) == 0:
        return search_selected(file, queries, k, only)
    scores, found = search(queries, plan.fetch)
    wrong = (found < 0) | ~only.contains(np.maximum(found, 0))
    # Stable: what is kept stays in its order, best first.
    order = np.argsort(wrong, axis=1, kind="stable")[:, :k]
    dropped = np.take_along_axis(wrong, order, axis=1)
    scores = np.where(dropped, np.float32(-np.inf), np.take_along_axis(scores, order, axis=1))
    found = np.where(dropped, -1, np.take_along_axis(found, order, axis=1))
    scores, found = pad(scores, found, k)
    short = np.flatnonzero((found >= 0).sum(axis=1) < min(k, only.count))
    if len(short):
        scores[short], found[short] = search_selected(file, queries[short], k, only)
    return scores, found
