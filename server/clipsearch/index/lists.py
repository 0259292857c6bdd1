"""What inverted lists hold of a selection: counted once per root, corrected for what tombstones took away."""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from clipsearch.index.planner import Counts, is_even, lists_to_visit
from clipsearch.ports import Vectors
from clipsearch.selection import Selection

# The stubs of faiss do not know the keyword constructors of its parameter classes.
_faiss: Any = faiss


def bit_selector(selection: Selection) -> Any:
    """Return a ``faiss.IDSelectorBitmap`` over the selection's bits, remembered by it; it must not outlive it."""
    # Making one of these objects takes 5 to 10 µs, more than FAISS needs to heed it.
    return selection.derive(
        "bit selector", lambda: faiss.IDSelectorBitmap(len(selection.bits), faiss.swig_ptr(selection.bits))
    )


def list_selector(filled: Selection) -> Any:
    """Return the parameters by which a coarse quantiser passes over the lists that are not ``filled``; as above."""
    return filled.derive("list selector", lambda: _faiss.SearchParameters(sel=bit_selector(filled)))


def centroids_of(ivf: Any) -> Vectors:
    """Return the centroids of an index on the CPU, float32 [nlist, d]."""
    centroids: Vectors = faiss.downcast_index(ivf.quantizer).reconstruct_n(0, ivf.nlist)
    return centroids


@dataclass(frozen=True)
class ListShare:
    """``selected`` int64 [nlist] vectors of each list are selected; ``filled`` are the lists that have any."""

    selected: Counts
    filled: Selection
    even: bool


class Lists:
    """The inverted lists of a ``faiss.IndexIVF`` on the CPU as arrays; 4 bytes per vector and a copy of the centroids.

    Immutable.
    """

    def __init__(self, ivf: Any) -> None:
        self._list_of: NDArray[np.int32] = np.empty(ivf.ntotal, dtype=np.int32)
        self._sizes: Counts = np.array([ivf.invlists.list_size(i) for i in range(ivf.nlist)], dtype=np.int64)
        for i in np.flatnonzero(self._sizes).tolist():
            ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(i), int(self._sizes[i]))
            self._list_of[ids] = i
        self._centroids: Vectors = centroids_of(ivf)

    def share(self, only: Selection) -> ListShare:
        """Return what the lists hold of a selection, remembered by it."""
        return only.derive("lists", lambda: self._share(only))

    def _share(self, only: Selection) -> ListShare:
        nlist = len(self._sizes)
        if only is not only.root:
            selected = self.share(only.root).selected - np.bincount(self._list_of[only.excluded], minlength=nlist)
        elif only.count == only.size:
            selected = self._sizes
        else:
            selected = np.bincount(self._list_of[only.mask], minlength=nlist)
        filled = Selection.of(nlist, np.flatnonzero(selected))
        return ListShare(selected, filled, is_even(selected, self._sizes))

    def needed(self, queries: Vectors, share: ListShare, fill: int) -> Counts:
        """Return how many lists that hold any selected vector each query must visit, int64 [n]; see planner."""
        order = np.argsort(-(queries @ self._centroids.T), axis=1)
        selected = share.selected[order]
        visited = lists_to_visit(selected, self._sizes[order], fill)
        filled = (selected > 0).cumsum(axis=1)
        return np.take_along_axis(filled, visited[:, None] - 1, axis=1)[:, 0]
