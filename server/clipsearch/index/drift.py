"""When a base index is due to be built again, and whether its lists and codes have to be trained anew for it.

Everything between two rebuilds is paid for by the searches: the delta is scanned whole by each of them, dead vectors
are skipped one by one, and lists that were trained for fewer or other vectors hold too much or the wrong things.

A rebuild is due (`rebuild_due`) for one of two reasons, the first that applies:

1. *delta*: it holds `delta_limit`, which is where scanning it costs about as much as searching the base;
2. *dead*: more than `DEAD_SHARE` of all that is held, where that is not a handful.

It trains (`training_due`) for one of two reasons; otherwise the vectors are added again to the centroids and codewords
that there are, which takes seconds where training takes minutes:

1. *lists*: what lives calls for another number of lists than the base has (`rules.choose_nlist`; it moves in powers of
   two, so after growing or shrinking about fourfold), or the base is exact and has none;
2. *drift*: the vectors that came after the training lie further from their lists' centroids than those it was made of
   (`assignment_drift`), and there are enough of them to matter: a tenth of what lives.

Drift is counted from the training, not from the last rebuild: a delta is a percent or so of a large index, so that each
would be too small to matter, and what one rebuild has taken in would hide the drift from the next. Growth and drift
alone are no reasons to rebuild: they come through the delta.
"""

from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a view counts, tombstones included in the sizes."""

    base: int
    base_dead: int
    delta: int
    delta_dead: int


def delta_limit(base: int) -> int:
    """Return from how many vectors on the delta of a base of so many is reason enough."""
    return max(MIN_DELTA, int(DELTA_PER_ROOT * base**0.5))


def rebuild_due(sizes: Sizes) -> str:
    """Return why a new index is due, with the figures; empty where it is not."""
    held, dead = sizes.base + sizes.delta, sizes.base_dead + sizes.delta_dead
    if sizes.delta >= delta_limit(sizes.base):
        return f"delta: {sizes.delta} vectors are newer than the index"
    if dead >= HANDFUL and dead > DEAD_SHARE * held:
        return f"dead: {dead} of {held} vectors are no longer in the catalogue"
    return ""


def training_due(living: int, nlist: int, unseen: int, drift: float) -> str:
    """Return why ``living`` vectors call for training, with the figures; empty where what was trained to fits.

    ``nlist`` lists were trained; ``unseen`` of the vectors came after that, and ``drift`` is theirs.
    """
    if nlist != choose_nlist(living):
        return f"lists: {nlist} are not right for {living} vectors"
    if drift > DRIFT and unseen >= max(HANDFUL, NEW_SHARE * living):
        return f"drift: {unseen} newer vectors are {drift:.2f} times as far from their centroids as those trained on"
    return ""


def lists_fit(living: int, nlist: int | None) -> bool:
    """Return whether the rules give so many vectors this many lists; None: none, which is a flat index."""
    return nlist == (choose_nlist(living) if choose_kind(living) is Kind.IVFPQ else None)


def assignment_drift(new: Vectors, centroids: Vectors, trained_misfit: float) -> float:
    """Return the misfit of ``new`` over that of the vectors that the lists were trained on.

    A sample of unit vectors, float32 [n, d] (a thousand tell it within a few percent), and the lists' centroids
    [nlist, d]. 1 means that the lists fit both alike. An empty sample gives 1.
    """
    if len(new) == 0:
        return 1.0
    return misfit(new, centroids) / max(trained_misfit, float(np.finfo(np.float32).eps))


def misfit(vectors: Vectors, centroids: Vectors) -> float:
    """Return the mean squared distance of unit vectors, float32 [n, d], to their best centroids, float32 [nlist, d]."""
    nearest = centroids[np.argmax(vectors @ centroids.T, axis=1)]
    return float(np.square(vectors - nearest).sum(axis=1).mean())
