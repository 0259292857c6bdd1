"""When a base index is due to be built again, and whether its lists and codes have to be trained anew for it.

Everything between two rebuilds is paid for by the searches: the delta is scanned whole by each of them, dead vectors
are skipped one by one, and lists that were trained for fewer or other vectors hold too much or the wrong things.

A rebuild is due for one of three reasons, the first that applies:

1. *drift*: the new vectors lie further from their lists' centroids than the old (`assignment_drift`), and there are
   enough of them to matter: a tenth of what lives;
2. *delta*: it holds `delta_limit`, which is where scanning it costs about as much as searching the base;
3. *dead*: more than `DEAD_SHARE` of all that is held, where that is not a handful.

It trains for the first reason, and for any where what lives calls for another kind of index or another number of lists
than the base has (`rules.choose_kind`, `rules.choose_nlist`; the latter moves in powers of two, so after growing or
shrinking about fourfold). Otherwise the vectors are added again to the centroids and codewords that there are: adding
takes seconds where training takes minutes. Growth alone is no reason: it comes through the delta.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.rules import Kind, choose_kind, choose_nlist
from clipsearch.ports import Vectors

MIN_DELTA = 4096
DELTA_PER_ROOT = 12.0
"""A search of an inverted file costs as the square root of its size, a scan as the size: so that both cost about the
same, the delta may have this times the root of the base. At 200,000 of 512 (5,400) the scan was measured at twice the
search of the base for one query, and at a third of it for a batch of 64."""

DEAD_SHARE = 0.2
NEW_SHARE = 0.1
HANDFUL = 1000
"""Fewer dead than this are never a reason: a small index is fast anyway."""

DRIFT = 2.0
"""Mean squared distance to the centroid, new over old, from which lists and codes fit the new vectors badly.

`benchmarks/index_parts.py drift` adds vectors without training: at 1.4 (noise) recall@10 was as before, 0.99; at 3.1
(clusters that training had not seen) 0.83, at 13 (another kind of data) 0.56, and more lists did not help.
"""


class Action(Enum):
    """What to do: nothing, build with the trained centroids and codewords, or train as well."""

    NONE = "none"
    READD = "readd"
    RETRAIN = "retrain"


@dataclass(frozen=True, slots=True)
class Due:
    """An action and, unless it is NONE, the reason above that asks for it, with its figures."""

    action: Action
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a view counts (tombstones included in the sizes), and the base's ``nlist``: None if it is flat."""

    base: int
    base_dead: int
    delta: int
    delta_dead: int
    nlist: int | None

    @property
    def living(self) -> int:
        """Return how many vectors a new base would hold."""
        return self.base - self.base_dead + self.delta - self.delta_dead


def delta_limit(base: int) -> int:
    """Return from how many vectors on the delta of a base of so many is reason enough."""
    return max(MIN_DELTA, int(DELTA_PER_ROOT * base**0.5))


def rebuild_due(sizes: Sizes, drift: float = 1.0) -> Due:
    """Return what to do; ``drift`` is that of ``assignment_drift``, 1 where it is not known."""
    living = sizes.living
    new = sizes.delta - sizes.delta_dead
    if sizes.nlist is not None and drift > DRIFT and new >= max(HANDFUL, NEW_SHARE * living):
        return Due(Action.RETRAIN, f"drift: new vectors are {drift:.2f} times as far from their centroids as the old")
    held, dead = sizes.base + sizes.delta, sizes.base_dead + sizes.delta_dead
    if sizes.delta >= delta_limit(sizes.base):
        reason = f"delta: {sizes.delta} vectors are newer than the index"
    elif dead >= HANDFUL and dead > DEAD_SHARE * held:
        reason = f"dead: {dead} of {held} vectors are no longer in the catalogue"
    else:
        return Due(Action.NONE)
    unfit = living > 0 and _nlist_for(living) != sizes.nlist
    return Due(Action.RETRAIN if unfit else Action.READD, reason)


def _nlist_for(living: int) -> int | None:
    return choose_nlist(living) if choose_kind(living) is Kind.IVFPQ else None


def assignment_drift(base: Vectors, new: Vectors, centroids: NDArray[np.float32]) -> float:
    """Return the mean squared distance to the best centroid of ``new`` over that of ``base``.

    Samples of unit vectors, float32 [n, d] and [m, d] (a thousand of each tell it within a few percent), and the lists'
    centroids [nlist, d]. 1 means that the lists fit both alike. Empty samples give 1.
    """
    if len(base) == 0 or len(new) == 0:
        return 1.0
    return _misfit(new, centroids) / max(_misfit(base, centroids), float(np.finfo(np.float32).eps))


def _misfit(vectors: Vectors, centroids: NDArray[np.float32]) -> float:
    nearest = centroids[np.argmax(vectors @ centroids.T, axis=1)]
    return float(np.square(vectors - nearest).sum(axis=1).mean())
