"""IVF-PQ with exact re-rank: product codes find ``k · overfetch`` candidates, float16 vectors put them in order.

Both steps run in one C++ call (``faiss.IndexRefine``), candidates never come back to Python in between. A search that
may return only some positions goes the way that ``planner`` says.
"""

from functools import cached_property
from typing import Any

import faiss
import numpy as np

from clipsearch.index.exact import Scores
from clipsearch.index.flat import check_search, scan_selected
from clipsearch.index.lists import Lists, bit_selector, list_selector
from clipsearch.index.planner import Counts, Facts, Way, plan
from clipsearch.index.subset import scan, search_selected
from clipsearch.index.threads import limit_openmp, serving_threads
from clipsearch.index.vectors import VectorFile
from clipsearch.ports import ALL, Rows, Scanner, Vectors
from clipsearch.selection import Selection

# The stubs of faiss do not know the keyword constructors of its parameter classes.
_faiss: Any = faiss

_SMALL_BATCH = 4
"""Below this many queries a second thread costs more to wake than it saves."""


class IvfPqIndex:
    """An inverted file of product codes over inner product, re-ranked exactly."""

    max_k = ALL
    is_exact = False

    def __init__(
        self,
        ivf: Any,
        vectors: VectorFile,
        *,
        nprobe: int,
        overfetch: float,
        threads: int | None = None,
    ) -> None:
        """Join a trained ``faiss.IndexIVFPQ`` with the vectors of the same rows.

        ``nprobe`` lists are visited and ``overfetch`` candidates per result are re-ranked unless a search says
        otherwise.
        """
        self.matrix = vectors.matrix
        self._file = vectors
        self._ivf = ivf
        self._refine = faiss.IndexRefine(ivf, vectors.faiss_index)
        self.size, self.dimension = vectors.matrix.shape
        self.max_nprobe = int(ivf.nlist)
        self.nprobe = min(nprobe, self.max_nprobe)
        self.overfetch = overfetch
        self.threads = threads or serving_threads()

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says.

        Positions are -1 also where the visited lists hold fewer than ``k`` vectors. Raises NprobeOutOfRange. With
        ``only``, ``nprobe`` is what an unfiltered search would visit: as many more are as the selection needs.
        """
        nprobe = self.nprobe if nprobe is None else nprobe
        if only is None or only.count == self.size:
            return self.search_with(queries, k, nprobe, self.overfetch)
        check_search(k, nprobe, self.max_nprobe)
        limit_openmp(self._threads_for(len(queries)))
        return self._search_selected(queries, k, nprobe, only)

    def search_exactly(self, queries: Vectors, k: int, only: Selection | None = None) -> tuple[Scores, Rows]:
        """Compare with every re-rank vector, on one thread: what live recall is measured against.

        Returns (scores [n, k], positions [n, k]) as ``search`` does.
        """
        check_search(k, None, self.max_nprobe)
        limit_openmp(1)
        return scan(self._file.faiss_index, queries, k, only)

    def search_with(self, queries: Vectors, k: int, nprobe: int, overfetch: float) -> tuple[Scores, Rows]:
        """Search with both run-time parameters given, as tuning does."""
        check_search(k, nprobe, self.max_nprobe)
        limit_openmp(self._threads_for(len(queries)))
        return self._refined(queries, k, overfetch, _faiss.SearchParametersIVF(nprobe=nprobe))

    def _refined(self, queries: Vectors, k: int, overfetch: float, parameters: Any) -> tuple[Scores, Rows]:
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        positions = np.full((len(queries), k), -1, dtype=np.int64)
        kept = min(k, self.size)
        if len(queries) == 0 or kept == 0:
            return scores, positions
        fetch = min(max(kept, round(overfetch * k)), self.size)
        # FAISS cuts the product of k and this to a whole number, in float32; half a candidate keeps it from losing one.
        factor = (fetch + 0.5) / kept
        refining = _faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=parameters)
        found, where = self._refine.search(np.ascontiguousarray(queries), kept, params=refining)
        scores[:, :kept] = np.where(where < 0, -np.inf, found)
        positions[:, :kept] = where
        return scores, positions

    def _search_selected(self, queries: Vectors, k: int, nprobe: int, only: Selection) -> tuple[Scores, Rows]:
        # Whether the filter is even is worth knowing only where lists are visited.
        plan_ = plan(self._facts(k, nprobe, only, even=True))
        if plan_.way is Way.EXACT or len(queries) == 0:
            return search_selected(self._file, queries, k, only)
        share = self._lists.share(only)
        if not share.even:
            plan_ = plan(self._facts(k, nprobe, only, even=False))
        if plan_.fill is None:
            return self._refined(queries, k, plan_.overfetch, _selecting(plan_.nprobe, only, share.filled))
        needed = self._lists.needed(queries, share, plan_.fill)
        scores = np.empty((len(queries), k), dtype=np.float32)
        positions = np.empty((len(queries), k), dtype=np.int64)
        # One call visits the same number of lists for all its queries, so those that need far more go by themselves.
        for members in _alike(needed):
            parameters = _selecting(int(needed[members].max()), only, share.filled)
            scores[members], positions[members] = self._refined(queries[members], k, plan_.overfetch, parameters)
        return scores, positions

    def _facts(self, k: int, nprobe: int, only: Selection, *, even: bool) -> Facts:
        return Facts(
            size=self.size,
            selected=only.count,
            nlist=int(self._ivf.nlist),
            k=k,
            nprobe=nprobe,
            overfetch=self.overfetch,
            even=even,
        )

    @cached_property
    def _lists(self) -> Lists:
        return Lists(self._ivf)

    def _threads_for(self, queries: int) -> int:
        return 1 if queries < _SMALL_BATCH else self.threads

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        return self.matrix[positions].astype(np.float32)

    def scanner(self) -> Scanner:
        """Return what compares with vectors that come later, on the CPU."""
        return scan_selected


def _selecting(nprobe: int, only: Selection, filled: Selection) -> Any:
    """Return what makes a search visit the nearest ``nprobe`` of the ``filled`` lists, and see ``only`` what it may."""
    return _faiss.SearchParametersIVF(
        nprobe=min(nprobe, filled.count),
        sel=bit_selector(only),
        quantizer_params=list_selector(filled),
    )


def _alike(needed: Counts) -> list[Rows]:
    """Return the queries in groups whose numbers of lists differ by less than a factor of two, roughly."""
    steps = np.ceil(np.log2(needed)).astype(np.int64)
    return [np.flatnonzero(steps == step) for step in np.unique(steps)]
