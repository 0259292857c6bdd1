"""The same indexes on one GPU: candidates and exact re-rank there, only positions and scores come back.

Queries of a tower on the same GPU are there already (``clipsearch.cuda.HandedVectors``).
"""

from typing import Any

import faiss
import numpy as np

from clipsearch.cuda import uploaded
from clipsearch.index.exact import Scores, pad
from clipsearch.index.flat import check_search
from clipsearch.index.gpu_device import Device, NewerVectors
from clipsearch.index.lists import bit_selector
from clipsearch.index.planner import Facts, Way, plan
from clipsearch.index.rerank import MOST_CANDIDATES, GpuVectors
from clipsearch.index.vectors import Float16
from clipsearch.ports import Rows, Scanner, Vectors
from clipsearch.selection import Selection

_faiss: Any = faiss  # The stubs of faiss do not know the keyword constructors of its parameter classes.


class _OnGpu:
    """Vectors on a GPU, and exact search of them. At most ``max_k`` results per query; the rest is padded."""

    max_k = MOST_CANDIDATES

    def __init__(self, device: Device, matrix: Float16, on_gpu: GpuVectors) -> None:
        """Search vectors float16 [N, d] that are placed for a device; ``matrix`` has them on the host."""
        self._device, self._matrix, self._vectors = device, matrix, on_gpu
        self.size, self.dimension = matrix.shape

    def search_exactly(self, queries: Vectors, k: int, only: Selection | None = None) -> tuple[Scores, Rows]:
        """Compare with every vector. Returns as ports.VectorIndex says."""
        if only is not None and only.count == self.size:
            only = None
        return self._device.search(self._vectors, queries, k, only)

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        return self._matrix[positions].astype(np.float32)

    def scanner(self) -> Scanner:
        """Return what compares with vectors that come later, on this GPU."""
        return NewerVectors(self._device)


class GpuFlatIndex(_OnGpu):
    """Exact search on a GPU; at most ``max_k`` results per query, the rest of ``k`` is padded."""

    max_nprobe = 1
    is_exact = True

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says; ``nprobe`` is ignored."""
        check_search(k, None, self.max_nprobe)
        del nprobe
        return self.search_exactly(queries, k, only)


class GpuIvfPqIndex(_OnGpu):
    """IVF-PQ with exact re-rank, all on one GPU: queries go up, positions and scores come down.

    At most ``max_k`` results per query; the rest of ``k`` is padded.
    """

    is_exact = False

    def __init__(
        self, ivf: Any, device: Device, matrix: Float16, on_gpu: GpuVectors, *, nprobe: int, overfetch: float
    ) -> None:
        """Join a ``faiss.GpuIndexIVFPQ`` with the vectors of the same rows, and the parameters it was tuned to."""
        super().__init__(device, matrix, on_gpu)
        self._ivf = ivf
        self.max_nprobe = min(int(ivf.nlist), MOST_CANDIDATES)
        self.nprobe, self.overfetch = min(nprobe, self.max_nprobe), overfetch

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says; raises NprobeOutOfRange."""
        nprobe = self.nprobe if nprobe is None else nprobe
        check_search(k, nprobe, self.max_nprobe)
        if only is not None and only.count == self.size:
            only = None
        if only is None:
            return self._probe(queries, k, nprobe, self.overfetch, None)
        planned = plan(Facts(self.size, only.count, int(self._ivf.nlist), k, nprobe, self.overfetch, even=True))
        if planned.way is Way.EXACT:
            return self.search_exactly(queries, k, only)
        return self._probe(queries, k, min(planned.nprobe, self.max_nprobe), planned.overfetch, only)

    def _probe(
        self, queries: Vectors, k: int, nprobe: int, overfetch: float, only: Selection | None
    ) -> tuple[Scores, Rows]:
        n, device, cupy = len(queries), self._device, self._device.cupy
        fetch = min(max(k, round(k * overfetch)), self.size, MOST_CANDIDATES)
        if n == 0 or fetch == 0:
            return pad(np.empty((n, 0), np.float32), np.empty((n, 0), np.int64), k)
        parameters = _faiss.SearchParametersIVF(nprobe=nprobe, sel=None if only is None else bit_selector(only))
        with device.current():
            asked = uploaded(cupy, queries)
            rough = cupy.empty((n, fetch), dtype=np.float32)
            candidates = cupy.empty((n, fetch), dtype=np.int64)
            self._ivf.search_c(
                n,
                faiss.cast_integer_to_float_ptr(asked.data.ptr),
                fetch,
                faiss.cast_integer_to_float_ptr(rough.data.ptr),
                faiss.cast_integer_to_idx_t_ptr(candidates.data.ptr),
                parameters,
            )
            # The bits once more: kernels that ignore a selector must not let anything through.
            found = self._vectors.best(asked, candidates, min(k, fetch), device.bits(only))
            return device.to_host(found, k)
