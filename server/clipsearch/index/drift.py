"""When a base index is due to be built again, and whether its lists and codes have to be trained anew for it.

Everything between two rebuilds is paid for by the searches: the delta is scanned whole by each of them, dead vectors
are skipped one by one, and lists that were trained for fewer or other vectors hold too much or the wrong things. The
rules, the first that applies being the reason given:

1. *kind*: the number that lives calls for the other kind of index (`rules.choose_kind`): train.
2. *growth*: it calls for another number of lists (`rules.choose_nlist`, which moves in powers of two, so after growth
   or shrinkage to about a fourfold): due once a quarter of the base is new or dead, so as not to train twice on the
   way; train.
3. *drift*: the new vectors lie further from their lists' centroids than the old (`assignment_drift`): due once there
   are enough of them to matter, a tenth of what lives; train.
4. *delta*: it holds `DELTA_ROWS`, which is where scanning it costs as much as searching the base: add again.
5. *dead*: more than `DEAD_SHARE` of the base or the delta, where that is not a handful: add again.

An index that is rebuilt for the last two reasons keeps its centroids and codewords: adding takes seconds where training
takes minutes, and measured recall is the same.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.rules import Kind, choose_kind, choose_nlist
from clipsearch.ports import Vectors

DELTA_ROWS = 10_000
"""At d = 512 a scan of so many takes about as long as a query of an IVF-PQ index of a few hundred thousand."""

DEAD_SHARE = 0.2
CHANGED_SHARE = 0.25
NEW_SHARE = 0.1
HANDFUL = 1000
"""Fewer dead than this are never a reason: a small index is fast anyway."""

DRIFT = 1.5
"""Mean squared distance to the centroid, new over old, from which lists fit the new vectors badly."""


class Action(Enum):
    """What to do: nothing, build with the trained centroids and codewords, or train as well."""

    NONE = "none"
    READD = "readd"
    RETRAIN = "retrain"


@dataclass(frozen=True, slots=True)
class Due:
    """An action and, unless it is NONE, the rule above that asks for it, with its figures."""

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


def rebuild_due(sizes: Sizes, drift: float = 1.0) -> Due:
    """Return what to do; ``drift`` is that of ``assignment_drift``, 1 where it is not known."""
    living = sizes.living
    if living > 0 and (retrain := _retraining(sizes, drift)):
        return Due(Action.RETRAIN, retrain)
    # A flat index has nothing to train: adding again is all there is to building it.
    if sizes.delta >= DELTA_ROWS:
        return Due(Action.READD, f"delta: {sizes.delta} vectors are newer than the index")
    dead = sizes.base_dead + sizes.delta_dead
    if dead >= HANDFUL and dead > DEAD_SHARE * (sizes.base + sizes.delta):
        return Due(Action.READD, f"dead: {dead} of {sizes.base + sizes.delta} vectors are no longer in the catalogue")
    return Due(Action.NONE)


def _retraining(sizes: Sizes, drift: float) -> str | None:
    living = sizes.living
    kind = Kind.FLAT if sizes.nlist is None else Kind.IVFPQ
    changed = sizes.delta + sizes.base_dead
    enough = changed >= HANDFUL and changed >= CHANGED_SHARE * sizes.base
    if choose_kind(living) is not kind and enough:
        return f"kind: {living} vectors call for {choose_kind(living).value}"
    if sizes.nlist is None:
        return None
    if choose_nlist(living) != sizes.nlist and enough:
        return f"growth: {living} vectors call for {choose_nlist(living)} lists instead of {sizes.nlist}"
    if drift > DRIFT and sizes.delta - sizes.delta_dead >= max(HANDFUL, NEW_SHARE * living):
        return f"drift: new vectors are {drift:.2f} times as far from their lists' centroids as the old"
    return None


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
