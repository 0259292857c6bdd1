"""IVF-PQ with exact re-rank: product codes find ``k · overfetch`` candidates, float16 vectors put them in order.

Both steps run in one C++ call (``faiss.IndexRefine``), candidates never come back to Python in between.
"""

from typing import Any

import faiss
import numpy as np

from clipsearch.index.exact import Scores
from clipsearch.index.flat import check_search
from clipsearch.index.threads import limit_openmp, serving_threads
from clipsearch.index.vectors import VectorFile
from clipsearch.ports import Rows, Vectors

# The stubs of faiss do not know the keyword constructors of its parameter classes.
_faiss: Any = faiss

_SMALL_BATCH = 4
"""Below this many queries a second thread costs more to wake than it saves."""


class IvfPqIndex:
    """An inverted file of product codes over inner product, re-ranked exactly."""

    def __init__(
        self,
        ivf: Any,
        vectors: VectorFile,
        *,
        nprobe: int,
        overfetch: float,
        threads: int | None = None,
        max_nprobe: int | None = None,
        max_candidates: int | None = None,
    ) -> None:
        """Join a trained ``faiss.IndexIVFPQ`` (or its GPU twin) with the vectors of the same rows.

        ``nprobe`` lists are visited and ``overfetch`` candidates per result are re-ranked unless a search says
        otherwise. ``max_nprobe`` and ``max_candidates`` are the limits of the device, where it has any.
        """
        self.matrix = vectors.matrix
        self._ivf = ivf
        self._refine = faiss.IndexRefine(ivf, vectors.faiss_index)
        self.size, self.dimension = vectors.matrix.shape
        self.max_nprobe = min(int(ivf.nlist), max_nprobe or int(ivf.nlist))
        self.nprobe = min(nprobe, self.max_nprobe)
        self.overfetch = overfetch
        self.threads = threads or serving_threads()
        self._max_candidates = min(max_candidates or self.size, self.size)

    def search(self, queries: Vectors, k: int, nprobe: int | None = None) -> tuple[Scores, Rows]:
        """Return (scores [n, k], rows [n, k]) as ports.VectorIndex says.

        Rows are -1 also where the visited lists hold fewer than ``k`` vectors. Raises NprobeOutOfRange.
        """
        return self.search_with(queries, k, self.nprobe if nprobe is None else nprobe, self.overfetch)

    def search_with(self, queries: Vectors, k: int, nprobe: int, overfetch: float) -> tuple[Scores, Rows]:
        """Search with both run-time parameters given, as tuning does."""
        check_search(k, nprobe, self.max_nprobe)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        kept = min(k, self._max_candidates)
        if len(queries) == 0 or kept == 0:
            return scores, rows
        limit_openmp(1 if len(queries) < _SMALL_BATCH else self.threads)
        factor = max(1.0, min(overfetch * k, self._max_candidates) / kept)
        parameters = _faiss.IndexRefineSearchParameters(
            k_factor=factor, base_index_params=_faiss.SearchParametersIVF(nprobe=nprobe)
        )
        found, where = self._refine.search(np.ascontiguousarray(queries), kept, params=parameters)
        scores[:, :kept] = np.where(where < 0, -np.inf, found)
        rows[:, :kept] = where
        return scores, rows

    def vectors(self, rows: Rows) -> Vectors:
        """Return the stored vectors of ``rows``, float32 [n, d]."""
        return self.matrix[rows].astype(np.float32)
