"""The way onto GPUs: whether there are any, what an index needs of them, and placing it on one or over several."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import faiss
import numpy as np

from clipsearch.cuda import Room, import_cupy
from clipsearch.errors import DeviceUnavailable
from clipsearch.index.gpu_device import SCRATCH_BYTES, Device
from clipsearch.index.gpu_index import GpuFlatIndex, GpuIvfPqIndex
from clipsearch.index.inverted import empty_like, move_codes
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rerank import place
from clipsearch.index.spread import Replicas, Shards, bounds
from clipsearch.index.vectors import Float16
from clipsearch.ports import VectorIndex

VECTORS_SHARE: Final = 0.6
"""Of the memory that an index leaves free besides them, how much its vectors may take. The index that replaces it will
be beside it for a while; the towers have theirs already."""

_faiss: Any = faiss  # The stubs of faiss do not know the keyword constructors of its parameter classes.


@dataclass(frozen=True, slots=True)
class Gpus:
    """How many GPUs an index takes, from the first on, and whether each has a part of it or all."""

    count: int = 1
    split: Literal["shards", "replicas"] = "shards"

    @property
    def parts(self) -> int:
        """Of how many GPUs together the memory has to do for one index."""
        return self.count if self.split == "shards" else 1


ONE: Final = Gpus()


def gpu_count() -> int:
    """Return how many GPUs this FAISS can use: 0 for the CPU build and where there is no driver."""
    if not hasattr(faiss, "StandardGpuResources"):
        return 0
    return int(faiss.get_num_gpus())


def is_on_gpu(device: str) -> bool:
    """Return whether an index that is opened for ``device`` (``auto``, ``cpu`` or ``cuda``) lies on a GPU."""
    return device == "cuda" or (device == "auto" and gpu_count() > 0)


def require_gpus(count: int) -> None:
    """Raise DeviceUnavailable where FAISS has no use of so many GPUs."""
    found = gpu_count()
    if found == 0:
        raise DeviceUnavailable("cuda was asked for, but this FAISS sees no GPU; install clipsearch[gpu] or use cpu")
    if found < count:
        raise DeviceUnavailable(f"{count} GPUs were asked for, and there are {found}; lower index_gpus")


def load_on_gpus(manifest: IndexManifest, matrix: Float16, ivf: Any, gpus: Gpus) -> VectorIndex:
    """Copy an index to the GPUs; raises DeviceUnavailable where that cannot be done, with sums if it does not fit.

    ``matrix`` float16 [N, d] are its vectors, ``ivf`` the trained ``faiss.IndexIVFPQ``, None for an exact index. cuVS
    kernels are used where FAISS has them.
    """
    require_gpus(gpus.count)
    if gpus.count == 1:
        return _load(manifest, matrix, ivf, 0, gpus)
    if gpus.split == "replicas":
        return Replicas([_load(manifest, matrix, ivf, number, gpus) for number in range(gpus.count)])
    starts = bounds(len(matrix), gpus.count)
    parts = [
        _load(manifest, matrix[start:stop], part_of(ivf, start, stop), number, gpus)
        for number, (start, stop) in enumerate(starts)
    ]
    return Shards(parts, [start for start, _ in starts])


def part_of(ivf: Any, start: int, stop: int) -> Any:
    """Return a ``faiss.IndexIVFPQ`` of the positions ``start`` … ``stop - 1`` of another, counted from ``start``.

    None of None.
    """
    if ivf is None:
        return None
    part = empty_like(ivf)
    positions = np.arange(ivf.ntotal, dtype=np.int64) - start
    positions[(positions < 0) | (positions >= stop - start)] = -1
    move_codes(ivf, part, positions)
    return part


def _load(manifest: IndexManifest, matrix: Float16, ivf: Any, number: int, gpus: Gpus) -> VectorIndex:
    cupy = import_cupy()
    left = Room.now(cupy, number).less(f"an index of {len(matrix):,} vectors", needs(manifest, gpus))
    device = Device(number)
    with device.current():
        vectors = place(matrix, int(left * VECTORS_SHARE))
    shape = manifest.ivfpq
    if shape is None:
        return GpuFlatIndex(device, matrix, vectors)
    on_gpu = copied(ivf, device)
    return GpuIvfPqIndex(on_gpu, device, matrix, vectors, nprobe=shape.nprobe, overfetch=shape.overfetch)


def copied(ivf: Any, device: Device) -> Any:
    """Return a ``faiss.IndexIVFPQ`` on a GPU; raises DeviceUnavailable where FAISS cannot place it there."""
    options: Any = faiss.GpuClonerOptions()
    # Float16 tables: 64 sub-quantisers with float32 tables do not fit the shared memory of the classic kernels.
    options.useFloat16 = True
    options.use_cuvs = uses_cuvs()
    try:
        return faiss.index_cpu_to_gpu(device.resources, device.number, ivf, options)
    except RuntimeError as error:
        raise DeviceUnavailable(f"the index could not be placed on the GPU: {str(error).splitlines()[-1]}") from error


def needs(manifest: IndexManifest, gpus: Gpus) -> dict[str, int]:
    """Return the bytes that an index takes on each GPU whatever else is there: all but its vectors."""
    shape = manifest.ivfpq
    if shape is None:
        return {"scratch": SCRATCH_BYTES}
    codes = -(-manifest.size // gpus.parts) * (shape.m + 8)  # and the position of each
    return {"codes": codes, "centroids": shape.nlist * manifest.dimension * 4, "scratch": SCRATCH_BYTES}


def uses_cuvs() -> bool:
    """Whether this FAISS has cuVS kernels for the GPU at hand."""
    if not hasattr(faiss, "GpuIndexCagra"):
        return False
    wanted = _faiss.GpuIndexConfig()
    wanted.use_cuvs = True
    return bool(_faiss.should_use_cuvs(wanted))
