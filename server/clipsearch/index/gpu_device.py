"""One GPU as an index uses it: a stream, FAISS's scratch memory, and exact comparison with vectors that lie there."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import faiss
import numpy as np

from clipsearch.cuda import import_cupy, uploaded
from clipsearch.index.exact import Scores, pad
from clipsearch.index.flat import scan_selected
from clipsearch.index.rerank import MOST_CANDIDATES, GpuVectors
from clipsearch.ports import Rows, Vectors
from clipsearch.selection import Selection

logger = logging.getLogger(__name__)

SCRATCH_BYTES: Final = 1 << 30
"""What FAISS may use for one search."""

GATHERED_ROWS: Final = 1 << 17
"""Selections up to this size have their vectors gathered once; those of a larger one are gathered in blocks, each time
that it is searched exactly."""

FIRST_ROWS: Final = 4096
"""Newer vectors that there is room for at first; it doubles when it is full."""

_faiss: Any = faiss  # The stubs of faiss do not know the keyword constructors of its parameter classes.


class Device:
    """What an index holds of one GPU. FAISS takes one caller at a time there: others wait in ``current``."""

    def __init__(self, number: int) -> None:
        """Take a stream and scratch memory of the GPU of this number."""
        self.number = number
        self.cupy = import_cupy()
        self._turn = threading.Lock()
        with self.cupy.cuda.Device(number):
            self.stream = self.cupy.cuda.Stream(non_blocking=True)
        self.resources = faiss.StandardGpuResources()
        self.resources.setTempMemory(SCRATCH_BYTES)
        self.resources.setDefaultStream(number, _faiss.cast_integer_to_cudastream_t(self.stream.ptr))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Wait for whoever computes with this, then compute on this GPU, in its stream."""
        with self._turn, self.cupy.cuda.Device(self.number), self.stream:
            yield

    def bits(self, only: Selection | None) -> Any:
        """Return a selection's bits on the GPU, remembered by it."""
        return None if only is None else only.derive(self._named("bits"), lambda: self.cupy.asarray(only.bits))

    def exactly(self, vectors: GpuVectors, queries: Any, k: int, only: Selection | None) -> tuple[Any, Any]:
        """Return the exact best of all vectors, or of the selected ones, as arrays on the GPU: [n, k] each."""
        if only is None or _leaves(k, only):
            return self._best(vectors, queries, k, only)
        chosen = only.root if _leaves(k, only, only.root.count) else only
        answers = (self._best(vectors, queries, k, only, among) for among in self._gathered(vectors, chosen))
        best = next(answers)
        for answer in answers:
            best = self._better(best, answer, k)
        return best

    def search(self, vectors: GpuVectors, queries: Vectors, k: int, only: Selection | None) -> tuple[Scores, Rows]:
        """Return the exact best of vectors, from the selected ones where told, as ports.VectorIndex says."""
        if len(queries) == 0 or vectors.size == 0 or (only is not None and only.count == 0):
            return pad(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        with self.current():
            return self.to_host(self.exactly(vectors, uploaded(self.cupy, queries), k, only), k)

    def to_host(self, found: tuple[Any, Any], k: int) -> tuple[Scores, Rows]:
        """Wait for an answer, and pad it to ``k`` columns."""
        return pad(self.cupy.asnumpy(found[0]), self.cupy.asnumpy(found[1]), k)

    def _gathered(self, vectors: GpuVectors, chosen: Selection) -> Iterator[tuple[Any, GpuVectors]]:
        """Yield the positions that are selected, and copies of their vectors, in blocks; a single one is remembered."""
        if chosen.count <= GATHERED_ROWS:
            yield chosen.derive(self._named("rows"), lambda: self._gather(vectors, chosen.positions))
            return
        positions = chosen.positions
        for start in range(0, len(positions), GATHERED_ROWS):
            yield self._gather(vectors, positions[start : start + GATHERED_ROWS])

    def _gather(self, vectors: GpuVectors, positions: Rows) -> tuple[Any, GpuVectors]:
        return self.cupy.asarray(positions), vectors.taken(positions)

    def _best(
        self,
        vectors: GpuVectors,
        queries: Any,
        k: int,
        only: Selection | None,
        among: tuple[Any, GpuVectors] | None = None,
    ) -> tuple[Any, Any]:
        """Return the exact best of all vectors, or of those at some positions, which come with copies of them."""
        positions, searched = among or (None, vectors)
        fetch = min(searched.size, MOST_CANDIDATES)
        found = self._nearest(searched, queries, fetch)
        if positions is not None:
            found = self.cupy.where(found >= 0, positions[self.cupy.maximum(found, 0)], -1)
        return vectors.best(queries, found, min(k, fetch), self.bits(only))

    def _better(self, one: tuple[Any, Any], other: tuple[Any, Any], k: int) -> tuple[Any, Any]:
        """Return the best ``k`` of two answers to the same queries."""
        scores, positions = (self.cupy.concatenate(pair, axis=1) for pair in zip(one, other, strict=True))
        order = self.cupy.argsort(-scores, axis=1)[:, :k]
        return self.cupy.take_along_axis(scores, order, axis=1), self.cupy.take_along_axis(positions, order, axis=1)

    def _named(self, what: str) -> str:
        """Name what a selection remembers: the GPUs of one index may be asked about the same one."""
        return f"{what} on gpu {self.number}"

    def _nearest(self, vectors: GpuVectors, queries: Any, k: int) -> Any:
        """Return the rows of the ``k`` largest products in float16, int64 [n, k]: candidates to be scored exactly."""
        n = len(queries)
        halves = queries.astype(np.float16)
        scores = self.cupy.empty((n, k), dtype=np.float32)
        found = self.cupy.empty((n, k), dtype=np.int64)
        wanted: Any = faiss.GpuDistanceParams()
        wanted.metric, wanted.k, wanted.dims = faiss.METRIC_INNER_PRODUCT, k, vectors.dimension
        wanted.vectors, wanted.vectorType = _void(vectors.pointer), faiss.DistanceDataType_F16
        wanted.numVectors = vectors.size
        wanted.queries, wanted.queryType, wanted.numQueries = _void(halves.data.ptr), faiss.DistanceDataType_F16, n
        wanted.outDistances = faiss.cast_integer_to_float_ptr(scores.data.ptr)
        wanted.outIndices, wanted.device, wanted.use_cuvs = _void(found.data.ptr), self.number, False
        faiss.bfKnn(self.resources, wanted)
        return found


class NewerVectors:
    """Vectors that come after an index, kept on its GPU as searches meet them: a ``ports.Scanner``."""

    def __init__(self, device: Device) -> None:
        """Start with none."""
        self._device = device
        self._held: Any = None
        self._size = 0

    def __call__(self, queries: Vectors, vectors: Vectors, k: int, only: Selection | None) -> tuple[Scores, Rows]:
        """Search them on the GPU, or on the CPU where the GPU has no room for them."""
        try:
            with self._device.current():
                held = self._first(vectors)
        except self._device.cupy.cuda.memory.OutOfMemoryError:
            logger.warning("%d newer vectors find no memory on the GPU, and are searched on the CPU", len(vectors))
            return scan_selected(queries, vectors, k, only)
        return self._device.search(held, queries, k, only)

    def _first(self, vectors: Vectors) -> GpuVectors:
        """Return so many of them on the GPU, having copied what is new to it."""
        size, dimension = vectors.shape
        if self._held is None or size > len(self._held):
            capacity = max(FIRST_ROWS, 1 << (size - 1).bit_length())
            grown = self._device.cupy.empty((capacity, dimension), dtype=np.float16)
            if self._held is not None:
                grown[: self._size] = self._held[: self._size]
            self._held = grown
        if size > self._size:
            self._held[self._size : size].set(vectors[self._size : size].astype(np.float16))
            self._size = size
        return GpuVectors.of(self._held, size)


def _leaves(k: int, only: Selection, among: int | None = None) -> bool:
    """Whether the candidates of a query hold its best ``k`` of a selection, whatever else is ``among`` them."""
    size = only.size if among is None else among
    return size - only.count + k <= MOST_CANDIDATES


def _void(pointer: int) -> Any:
    return faiss.cast_integer_to_void_ptr(int(pointer))
