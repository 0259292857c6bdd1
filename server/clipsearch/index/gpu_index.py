"""The same index on a GPU: candidates and exact re-rank there, only positions and scores come back."""

from typing import Any, Final

import faiss
import numpy as np

from clipsearch.cuda import Room, import_cupy
from clipsearch.errors import DeviceUnavailable
from clipsearch.index.exact import Scores, pad
from clipsearch.index.flat import check_search
from clipsearch.index.lists import bit_selector
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.planner import Facts, Way, plan
from clipsearch.index.rerank import MOST_CANDIDATES, GpuVectors
from clipsearch.index.vectors import VectorFile
from clipsearch.ports import Rows, VectorIndex, Vectors
from clipsearch.selection import Selection

SCRATCH_BYTES: Final = 1 << 30
"""What FAISS may use for one search."""

VECTORS_SHARE: Final = 0.6
"""Of the memory that an index leaves free besides them, how much its vectors may take. The index that replaces it will
be beside it for a while; the towers have theirs already."""

GATHERED_ROWS: Final = 1 << 17
"""Selections up to this size have their vectors gathered once; of a larger one all vectors are compared."""

_faiss: Any = faiss  # The stubs of faiss do not know the keyword constructors of its parameter classes.


def gpu_count() -> int:
    """Return how many GPUs this FAISS can use: 0 for the CPU build and where there is no driver."""
    if not hasattr(faiss, "StandardGpuResources"):
        return 0
    return int(faiss.get_num_gpus())


def is_on_gpu(device: str) -> bool:
    """Return whether an index that is opened for ``device`` (``auto``, ``cpu`` or ``cuda``) lies on a GPU."""
    return device == "cuda" or (device == "auto" and gpu_count() > 0)


def load_on_gpu(manifest: IndexManifest, vectors: VectorFile, ivf: Any) -> VectorIndex:
    """Copy an index to the first GPU; raises DeviceUnavailable where that cannot be done, with sums if it does not fit.

    ``ivf`` is the trained ``faiss.IndexIVFPQ``, None for an exact index. cuVS kernels are used where FAISS has them.
    """
    if gpu_count() == 0:
        raise DeviceUnavailable("cuda was asked for, but this FAISS sees no GPU; install clipsearch[gpu] or use cpu")
    shape = manifest.ivfpq
    room = Room.now(import_cupy())
    left = room.less(f"an index of {manifest.size:,} vectors", needs(manifest))
    device = Device(vectors, int(left * VECTORS_SHARE))
    if shape is None:
        return GpuFlatIndex(device)
    options: Any = faiss.GpuClonerOptions()
    # Float16 tables: 64 sub-quantisers with float32 tables do not fit the shared memory of the classic kernels.
    options.useFloat16 = True
    options.use_cuvs = uses_cuvs()
    try:
        on_gpu = faiss.index_cpu_to_gpu(device.resources, 0, ivf, options)
    except RuntimeError as error:
        raise DeviceUnavailable(f"the index could not be placed on the GPU: {str(error).splitlines()[-1]}") from error
    return GpuIvfPqIndex(on_gpu, device, nprobe=shape.nprobe, overfetch=shape.overfetch)


def needs(manifest: IndexManifest) -> dict[str, int]:
    """Return the bytes that an index takes on a GPU whatever else is there: all but its vectors."""
    shape = manifest.ivfpq
    if shape is None:
        return {"scratch": SCRATCH_BYTES}
    codes = manifest.size * (shape.m + 8)  # and the position of each
    return {"codes": codes, "centroids": shape.nlist * manifest.dimension * 4, "scratch": SCRATCH_BYTES}


def uses_cuvs() -> bool:
    """Whether this FAISS has cuVS kernels for the GPU at hand."""
    if not hasattr(faiss, "GpuIndexCagra"):
        return False
    wanted = _faiss.GpuIndexConfig()
    wanted.use_cuvs = True
    return bool(_faiss.should_use_cuvs(wanted))


class Device:
    """What an index holds of a GPU besides itself: FAISS's scratch memory, a stream, and the vectors."""

    def __init__(self, vectors: VectorFile, room: int) -> None:
        """Take a stream, scratch memory, and up to ``room`` bytes for the vectors."""
        self.cupy = import_cupy()
        self.stream = self.cupy.cuda.Stream(non_blocking=True)
        self.resources = faiss.StandardGpuResources()
        self.resources.setTempMemory(SCRATCH_BYTES)
        self.resources.setDefaultStream(0, _faiss.cast_integer_to_cudastream_t(self.stream.ptr))
        self.file = vectors
        with self.stream:
            self.vectors = GpuVectors(vectors.matrix, room)

    def bits(self, only: Selection | None) -> Any:
        """Return a selection's bits on the GPU, remembered by it."""
        return None if only is None else only.derive("bits on gpu", lambda: self.cupy.asarray(only.bits))

    def exactly(self, queries: Any, k: int, only: Selection | None) -> tuple[Any, Any]:
        """Return the exact best of all vectors, or of the selected ones, as arrays on the GPU: [n, k] each."""
        pointer, size, positions = self.vectors.pointer, self.vectors.size, None
        if only is not None and only.root.count <= GATHERED_ROWS:
            root = only.root
            positions, gathered = root.derive("rows on gpu", lambda: self._gather(root))
            pointer, size = int(gathered.data.ptr), len(positions)
        fetch = min(size, MOST_CANDIDATES)
        found = self._nearest(queries, pointer, size, fetch)
        if positions is not None:
            found = self.cupy.where(found >= 0, positions[self.cupy.maximum(found, 0)], -1)
        return self.vectors.best(queries, found, min(k, fetch), self.bits(only))

    def _gather(self, root: Selection) -> tuple[Any, Any]:
        positions = root.positions
        return self.cupy.asarray(positions), self.cupy.asarray(np.asarray(self.file.matrix)[positions])

    def _nearest(self, queries: Any, pointer: int, size: int, k: int) -> Any:
        """Return the rows of the ``k`` largest products in float16, int64 [n, k]: candidates to be scored exactly."""
        n = len(queries)
        halves = queries.astype(np.float16)
        scores = self.cupy.empty((n, k), dtype=np.float32)
        found = self.cupy.empty((n, k), dtype=np.int64)
        wanted: Any = faiss.GpuDistanceParams()
        wanted.metric, wanted.k, wanted.dims = faiss.METRIC_INNER_PRODUCT, k, self.vectors.dimension
        wanted.vectors, wanted.vectorType, wanted.numVectors = _void(pointer), faiss.DistanceDataType_F16, size
        wanted.queries, wanted.queryType, wanted.numQueries = _void(halves.data.ptr), faiss.DistanceDataType_F16, n
        wanted.outDistances = faiss.cast_integer_to_float_ptr(scores.data.ptr)
        wanted.outIndices, wanted.device, wanted.use_cuvs = _void(found.data.ptr), 0, False
        faiss.bfKnn(self.resources, wanted)
        return found

    def to_host(self, found: tuple[Any, Any], k: int) -> tuple[Scores, Rows]:
        """Wait for an answer, and pad it to ``k`` columns."""
        return pad(self.cupy.asnumpy(found[0]), self.cupy.asnumpy(found[1]), k)


def _void(pointer: int) -> Any:
    return faiss.cast_integer_to_void_ptr(int(pointer))


class GpuFlatIndex:
    """Exact search on a GPU; at most ``MOST_CANDIDATES`` results per query, the rest of ``k`` is padded."""

    max_nprobe = 1

    def __init__(self, device: Device) -> None:
        """Search the vectors that a device holds."""
        self._device = device
        self.size, self.dimension = device.vectors.size, device.vectors.dimension

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says; ``nprobe`` is ignored."""
        check_search(k, None, self.max_nprobe)
        del nprobe
        return search_exactly(self._device, queries, k, None if only is None or only.count == self.size else only)

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        return self._device.file.matrix[positions].astype(np.float32)


def search_exactly(device: Device, queries: Vectors, k: int, only: Selection | None) -> tuple[Scores, Rows]:
    """Return the exact best of a device's vectors, from the selected ones where told, as ports.VectorIndex says."""
    if len(queries) == 0 or device.vectors.size == 0 or (only is not None and only.count == 0):
        return pad(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
    with device.stream:
        return device.to_host(device.exactly(device.cupy.asarray(queries), k, only), k)


class GpuIvfPqIndex:
    """IVF-PQ with exact re-rank, all on one GPU: queries go up, positions and scores come down.

    At most ``MOST_CANDIDATES`` results per query; the rest of ``k`` is padded. One caller at a time.
    """

    def __init__(self, on_gpu: Any, device: Device, *, nprobe: int, overfetch: float) -> None:
        """Join a ``faiss.GpuIndexIVFPQ`` with the vectors of the same rows, and the parameters it was tuned to."""
        self._ivf, self._device = on_gpu, device
        self.size, self.dimension = device.vectors.size, device.vectors.dimension
        self.max_nprobe = min(int(on_gpu.nlist), MOST_CANDIDATES)
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
            return search_exactly(self._device, queries, k, only)
        return self._probe(queries, k, min(planned.nprobe, self.max_nprobe), planned.overfetch, only)

    def search_exactly(self, queries: Vectors, k: int, only: Selection | None = None) -> tuple[Scores, Rows]:
        """Compare with every vector: what live recall is measured against. Returns as ``search`` does."""
        return search_exactly(self._device, queries, k, only)

    def _probe(
        self, queries: Vectors, k: int, nprobe: int, overfetch: float, only: Selection | None
    ) -> tuple[Scores, Rows]:
        n, device, cupy = len(queries), self._device, self._device.cupy
        fetch = min(max(k, round(k * overfetch)), self.size, MOST_CANDIDATES)
        if n == 0 or fetch == 0:
            return pad(np.empty((n, 0), np.float32), np.empty((n, 0), np.int64), k)
        parameters = _faiss.SearchParametersIVF(nprobe=nprobe, sel=None if only is None else bit_selector(only))
        with device.stream:
            asked = cupy.asarray(queries)
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
            found = device.vectors.best(asked, candidates, min(k, fetch), device.bits(only))
            return device.to_host(found, k)

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        return self._device.file.matrix[positions].astype(np.float32)
