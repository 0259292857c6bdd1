"""Recall, measured, and the run-time parameters that reach a target.

Two knobs remain after training. More lists (nprobe) find neighbours in other clusters; more candidates per result
(overfetch) find those that the codes rank too low. They are tuned one after the other, each against exact search:

1. nprobe: the smallest that brings recall to ``target + (1 - target) / 2`` with overfetch at its largest, so that half
   of the allowed loss is left to the codes; where no nprobe does, the smallest that brings it to the target; where that
   fails too, the smallest that does as well as visiting every list.
2. overfetch: the smallest of 1, 1.5, 2, 3, 4, 6 … 64 that keeps recall at the target.

One half of the queries tunes, the other is what the reported figures are measured on. "At the target" means ``MARGIN``
standard errors above it on the first half, so that the second agrees nearly always. At one standard error the index of
a million vectors reported 0.943 for a target of 0.95: the best of many settings owes some of its recall to luck.

Queries of both kinds count separately and both must reach the target: texts lie beside the clusters of pictures that
the lists were trained on (see benchmarks/clustered_vectors.py), so their recall at the same nprobe is another number.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.exact import Scores, exact_top_k
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.rules import MAX_OVERFETCH
from clipsearch.ports import Rows, Vectors

Report = Callable[[str, int, int], None]
"""Called with a stage's name, steps done and steps in all."""

K = 10
"""Recall is measured at 10, where callers look."""

MARGIN = 2.0
"""Standard errors by which the tuning queries must clear the target."""

OVERFETCH_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, float(MAX_OVERFETCH))

_AT_ONCE = 64
"""Queries searched between two reports."""

_TIE = 1e-5
"""Two scores this close are the same neighbour distance: catalogues hold the same picture under several ids."""


@dataclass(frozen=True)
class Truth:
    """Held-out queries with their exact answers.

    ``queries`` float32 [n, d]; ``own_rows`` int64 [n] the query's own row, left out of its answers (-1 for a query that
    is not an item); ``kth`` float32 [n] the exact score of the last true neighbour; ``k`` neighbours asked for.
    """

    queries: Vectors
    own_rows: Rows
    kth: Scores
    k: int

    def halves(self) -> tuple["Truth", "Truth"]:
        """Split alternately into a part to tune on and a part to report on (the same one if there is one query)."""
        if len(self.queries) < 2:
            return self, self
        first, second = (self._some(slice(i, None, 2)) for i in (0, 1))
        return first, second

    def parts(self) -> Iterator["Truth"]:
        """Split into parts that are searched in a second or so each, however large the index."""
        for start in range(0, len(self.queries), _AT_ONCE):
            yield self._some(slice(start, start + _AT_ONCE))

    def _some(self, which: slice) -> "Truth":
        return Truth(self.queries[which], self.own_rows[which], self.kth[which], self.k)


def find_truth(
    queries: Vectors,
    own_rows: Rows | None,
    matrix: NDArray[np.float16],
    pool: Executor,
    progress: Callable[[int], None] | None = None,
) -> Truth:
    """Search exactly for ``queries``, leaving out ``own_rows`` where given (leave-one-out).

    Every item has to be in the index, so a picture query is an item whose own row does not count as an answer.
    """
    own = np.full(len(queries), -1, dtype=np.int64) if own_rows is None else own_rows
    k = min(K, len(matrix) - (own_rows is not None))
    scores, rows = exact_top_k(queries, matrix, min(k + 1, len(matrix)), pool, progress)
    kept, _ = _without(scores, rows, own, k)
    return Truth(queries, own, kept[:, -1], k)


def _without(scores: Scores, rows: Rows, own: Rows, k: int) -> tuple[Scores, Rows]:
    """Drop each query's own row from its results and keep ``k`` of the rest, in order."""
    order = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def recall_of(index: IvfPqIndex, truth: Truth, nprobe: int, overfetch: float) -> NDArray[np.float64]:
    """Return the recall of each query, float64 [n]: the share of results that score at least as the k-th true one."""
    k = truth.k
    scores, rows = index.search_with(truth.queries, k + 1, nprobe, overfetch * k / (k + 1))
    # Nothing found twice is counted twice: rows are distinct, and -1 has score -inf.
    kept, _ = _without(scores, rows, truth.own_rows, k)
    found = (kept >= truth.kth[:, None] - _TIE).sum(axis=1)
    return np.asarray(found / k, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The parameters found."""

    nprobe: int
    overfetch: float


def tune(index: IvfPqIndex, truths: Sequence[Truth], target: float, report: Report | None = None) -> Tuned:
    """Return the cheapest parameters found by the rules above for the tuning halves of ``truths`` (not empty)."""
    done = 0

    def margin(nprobe: int, overfetch: float) -> float:
        """Return the recall of the worse kind of query, less its margin."""
        nonlocal done
        done += 1
        each = []
        for truth in truths:
            found = []
            for part in truth.parts():
                if report is not None:
                    report("tuning", done, max(done + 1, 24))
                found.append(recall_of(index, part, nprobe, overfetch))
            each.append(np.concatenate(found))
        return min(float(r.mean() - MARGIN * r.std() / len(r) ** 0.5) for r in each)

    widest = float(MAX_OVERFETCH)
    ceiling = margin(index.max_nprobe, widest)
    wanted = next((goal for goal in (target + (1 - target) / 2, target) if ceiling >= goal), ceiling)
    nprobe = _smallest(lambda value: margin(value, widest) >= wanted, index.max_nprobe)
    goal = min(target, margin(nprobe, widest))
    overfetch = next((step for step in OVERFETCH_STEPS if margin(nprobe, step) >= goal), widest)
    if report is not None:
        report("tuning", done, done)
    return Tuned(nprobe, overfetch)


def _smallest(enough: Callable[[int], bool], largest: int) -> int:
    """Return the smallest value in 1 … ``largest`` that is enough, ``largest`` being known to be.

    Doubles from 1, then bisects until the answer is known within an eighth: recall moves in the third digit there.
    """
    low, high = 0, 1
    while high < largest and not enough(high):
        low, high = high, high * 2
    high = min(high, largest)
    while high - low > max(1, high // 8):
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def counting(report: Report, stage: str, total: int) -> Callable[[int], None]:
    """Return a function that takes steps and reports how many of ``total`` have been taken in all."""
    done = 0

    def progress(steps: int) -> None:
        nonlocal done
        done += steps
        report(stage, done, total)

    return progress
