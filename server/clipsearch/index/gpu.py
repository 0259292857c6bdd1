"""The same index on a GPU: candidates there, exact re-rank on the host from the same memory-mapped vectors."""

from typing import Any

import faiss
import numpy as np

from clipsearch.errors import DeviceUnavailable
from clipsearch.index.exact import Scores, pad
from clipsearch.index.flat import check_search
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.overfetch import search_and_drop
from clipsearch.index.vectors import VectorFile
from clipsearch.ports import Rows, VectorIndex, Vectors
from clipsearch.selection import Selection

GPU_LIMIT = 2048
"""Most lists visited and most candidates returned per query by the FAISS GPU kernels."""


def gpu_count() -> int:
    """Return how many GPUs this FAISS can use: 0 for the CPU build and where there is no driver."""
    if not hasattr(faiss, "StandardGpuResources"):
        return 0
    return int(faiss.get_num_gpus())


def is_on_gpu(device: str) -> bool:
    """Return whether an index that is opened for ``device`` (``auto``, ``cpu`` or ``cuda``) lies on a GPU."""
    return device == "cuda" or (device == "auto" and gpu_count() > 0)


def load_on_gpu(manifest: IndexManifest, vectors: VectorFile, ivf: Any, threads: int) -> VectorIndex:
    """Copy an index to the first GPU; raises DeviceUnavailable where that cannot be done.

    ``ivf`` is the trained ``faiss.IndexIVFPQ``, None for an exact index. The exact index keeps float16 vectors and
    float32 sums. cuVS kernels are used where this FAISS has them.
    """
    if gpu_count() == 0:
        raise DeviceUnavailable("cuda was asked for, but this FAISS sees no GPU; install clipsearch[gpu] or use cpu")
    resources = faiss.StandardGpuResources()
    options: Any = faiss.GpuClonerOptions()
    # Float16 tables: 64 sub-quantisers with float32 tables do not fit the shared memory of the classic kernels.
    options.useFloat16LookupTables = True
    options.useFloat16 = manifest.ivfpq is None
    options.use_cuvs = bool(faiss.should_use_cuvs()) if hasattr(faiss, "should_use_cuvs") else False
    source = _flat_source(vectors) if manifest.ivfpq is None else ivf
    try:
        on_gpu = faiss.index_cpu_to_gpu(resources, 0, source, options)
    except RuntimeError as error:
        raise DeviceUnavailable(f"the index could not be placed on the GPU: {str(error).splitlines()[-1]}") from error
    shape = manifest.ivfpq
    if shape is None:
        return GpuFlatIndex(on_gpu, vectors)
    return IvfPqIndex(
        on_gpu,
        vectors,
        nprobe=shape.nprobe,
        overfetch=shape.overfetch,
        threads=threads,
        max_nprobe=GPU_LIMIT,
        max_candidates=GPU_LIMIT,
        # The classic kernels take a selector and ignore it; the cuVS ones are said to honour it, untested here.
        selectors=False,
    )


def _flat_source(vectors: VectorFile) -> Any:
    source = faiss.IndexFlatIP(vectors.matrix.shape[1])
    source.add(vectors.matrix.astype(np.float32))
    return source


class GpuFlatIndex:
    """Exact search on a GPU; at most ``GPU_LIMIT`` results per query, the rest of ``k`` is padded."""

    max_nprobe = 1

    def __init__(self, on_gpu: Any, vectors: VectorFile) -> None:
        """Take a ``faiss.GpuIndexFlat`` over inner product and the vectors of the same rows."""
        self._on_gpu = on_gpu
        self._file = vectors
        self.size, self.dimension = vectors.matrix.shape

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says; ``nprobe`` is ignored."""
        check_search(k, None, self.max_nprobe)
        del nprobe
        if only is None or only.count == self.size:
            return self._search(queries, k)
        return search_and_drop(self._search, self._file, queries, k, only, limit=min(self.size, GPU_LIMIT))

    def _search(self, queries: Vectors, k: int) -> tuple[Scores, Rows]:
        kept = min(k, self.size, GPU_LIMIT)
        if len(queries) == 0:
            return np.empty((0, k), dtype=np.float32), np.empty((0, k), dtype=np.int64)
        scores, positions = self._on_gpu.search(np.ascontiguousarray(queries), kept)
        return pad(scores, positions, k)

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        return self._file.matrix[positions].astype(np.float32)
