"""How a search that may return only some of the vectors is carried out, so that it keeps its recall.

Two ways:

* EXACT: score the selected vectors and nothing else. Always right; the cheapest while they are few.
* PROBE: visit inverted lists, looking only at what is selected, and re-rank as usual. How many lists is the question.

How many lists. An unfiltered search at the tuned nprobe sees about ``nprobe * size / nlist`` vectors; call that its
*fill*. Two kinds of filter need different things. The figures were fitted to where the true neighbours lie, in 100,000
vectors of 128 and 200,000 of 512; `benchmarks/filtered_recall.py` shows what recall comes of them:

* A filter that has nothing to do with the vectors thins every list alike. The neighbours that remain lie further out,
  but fewer vectors have to be seen: nprobe grows as ``share ** -0.35`` and the vectors seen fall as ``share ** 0.65``.
* A filter that follows the vectors leaves some lists whole and empties others. A query whose neighbourhood is whole
  needs one fill of selected vectors, whatever the share. One whose neighbourhood is empty has its answers in a shell
  of many lists at nearly the same distance and needs several. How empty is measured by ``depletion``: how many selected
  vectors chance would have put into the lists up to the one where a fill is reached, over the fill. It was 3 to 23
  where all clusters around the query were excluded, and recall stopped growing at 5 fills where it was 5, 10 where it
  was 10, and 15 where it was 23. A million of 512 asked for more: ``6 * sqrt(depletion) - 5`` fills.

  In a shell the codes tell the vectors apart worse than near the query, so ``DEEPER`` times as many are re-ranked,
  which hardly shows beside the lists. With the tenth of a million x 512 nearest to each query excluded recall@10 of
  pictures was 0.925 at the tuned overfetch and 0.930 at three times that, with the half 0.936 and 0.956; with the
  further lists 0.950 and 0.973.

Which kind it is, is seen from the selected vectors per list: chance leaves them as uneven as a binomial draw.
Overfetch needs no rule: the codes rank the selected vectors no worse than they rank all. What this does not keep is a
filter cut by the similarity to the query itself: there the codes would have to tell equals apart.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

EXACT_ROWS = 4096
"""Up to this many selected vectors are scored exactly: at d = 512 that costs no more than visiting lists does."""

SHARE_EXPONENT = 0.35

UNEVEN = 2.0
"""Variance of the selected vectors per list over that of chance, from which a filter follows the vectors."""

DEEPER = 3.0
"""Times the tuned overfetch, where a filter follows the vectors."""

STARVED = 1e-3
"""Lists left with under half of what chance leaves count only if they hold more than this part of all vectors."""


class Way(Enum):
    """One of the two ways above."""

    EXACT = "exact"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. ``nprobe`` lists are visited by PROBE, or as many as hold ``fill`` selected vectors if that is set.

    PROBE re-ranks ``overfetch`` candidates per result.
    """

    way: Way
    nprobe: int = 0
    fill: int | None = None
    overfetch: float = 1.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the plan depends on.

    Of ``size`` vectors in ``nlist`` lists ``selected`` may be found, ``k`` are wanted per query. ``nprobe`` and
    ``overfetch`` are those of an unfiltered search. ``even`` says whether the filter thins every list alike.
    """

    size: int
    selected: int
    nlist: int
    k: int
    nprobe: int
    overfetch: float
    even: bool


def plan(facts: Facts) -> Plan:
    """Return how to search."""
    if facts.selected <= max(EXACT_ROWS, facts.k):
        return Plan(Way.EXACT)
    share = facts.selected / facts.size
    overfetch = facts.overfetch if facts.even else DEEPER * facts.overfetch
    # However few a tuned search sees, k results need k · overfetch candidates to choose from.
    candidates = min(facts.selected, round(facts.k * overfetch))
    per_list = facts.selected / facts.nlist
    if facts.even:
        wanted = max(facts.nprobe * share**-SHARE_EXPONENT, candidates / per_list)
        return Plan(Way.PROBE, nprobe=min(facts.nlist, int(np.ceil(wanted))), overfetch=overfetch)
    fill = max(facts.nprobe * facts.size / facts.nlist, candidates)
    return Plan(Way.PROBE, fill=int(np.ceil(fill)), overfetch=overfetch)


def is_even(selected: Counts, sizes: Counts) -> bool:
    """Return whether the selected vectors of each list are what chance would leave of the lists' ``sizes``."""
    share = selected.sum() / max(sizes.sum(), 1)
    if share in (0, 1):
        return True
    filled = sizes > 0
    expected = share * sizes[filled]
    off = selected[filled] - expected
    variance = float(np.mean(off * off / (expected * (1 - share))))
    starved = float(sizes[filled][off < -expected / 2].sum()) / float(sizes.sum())
    return variance <= UNEVEN or starved <= STARVED


def lists_to_visit(selected: Counts, sizes: Counts, fill: int) -> Counts:
    """Return how many lists each query must visit, int64 [n], given its lists in order of nearness.

    ``selected`` and ``sizes``, int64 [n, nlist], are the vectors of each list that are selected, and all of them.
    """
    share = selected[0].sum() / sizes[0].sum()
    seen = selected.cumsum(axis=1)
    last = seen.shape[1] - 1
    first = np.minimum((seen < fill).sum(axis=1), last)
    by_chance = np.take_along_axis(sizes.cumsum(axis=1), first[:, None], axis=1)[:, 0] * share
    depletion = np.maximum(1.0, by_chance / fill)
    target = fill * (6 * np.sqrt(depletion) - 5)
    visited: Counts = np.minimum((seen < target[:, None]).sum(axis=1), last) + 1
    return visited
