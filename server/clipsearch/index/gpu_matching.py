"""Finding the lists of vectors on a GPU: what an index is built with where there is one, beside whatever it serves.

All else of a build stays on the CPU, so that its files are the same kind wherever they were made.
"""

import logging
from typing import Any, Final

import faiss
import numpy as np

from clipsearch.cuda import Room, import_cupy
from clipsearch.errors import DeviceUnavailable
from clipsearch.index.gpu import is_on_gpu, require_gpus
from clipsearch.index.kmeans import Match
from clipsearch.index.matching import FAISS_BLOCK, Labels, Matcher, NearestByFaiss, NearestByProduct
from clipsearch.ports import Vectors

logger = logging.getLogger(__name__)

SCRATCH_BYTES: Final = 256 << 20
"""What FAISS may use for one block of vectors."""

_faiss: Any = faiss  # The stubs of faiss do not know its GPU part.


def match_for(device: str) -> Match:
    """Return what finds lists on a device: ``auto``, ``cpu`` or ``cuda``; raises DeviceUnavailable."""
    if not is_on_gpu(device):
        return NearestByProduct
    require_gpus(1)
    return GpuMatch()


class GpuMatch:
    """Makes matchers on the first GPU, or on the CPU where that has no room for them: a ``kmeans.Match``."""

    def __init__(self) -> None:
        """Take scratch memory of a build's own; it goes when the build ends."""
        self._resources = _faiss.StandardGpuResources()
        self._resources.setTempMemory(SCRATCH_BYTES)

    def __call__(self, centroids: Vectors) -> Matcher:
        """Return what compares with ``centroids`` float32 [k, d]."""
        row = centroids.shape[1] * 4
        parts = {"centroids": len(centroids) * row, "vectors": FAISS_BLOCK * row, "scratch": SCRATCH_BYTES}
        try:
            Room.now(import_cupy()).less("building an index", parts)
        except DeviceUnavailable as error:
            logger.info("built on the CPU: %s", error.message)
            return NearestByProduct(centroids)
        config = _faiss.GpuIndexFlatConfig()
        config.device = 0
        empty = _faiss.GpuIndexFlatIP(self._resources, centroids.shape[1], config)
        return OrOnCpu(NearestByFaiss(empty, centroids), NearestByProduct(centroids))


class OrOnCpu:
    """Goes on on the CPU once FAISS fails on a GPU: for want of memory, which searches take as they come."""

    block = FAISS_BLOCK

    def __init__(self, first: Matcher, on_cpu: Matcher) -> None:
        """Ask ``first`` as long as it answers, and then ``on_cpu``."""
        self._first: Matcher | None = first
        self._on_cpu = on_cpu

    def __call__(self, points: Vectors) -> Labels:
        """See Matcher."""
        if (first := self._first) is not None:
            try:
                return first(points)
            except RuntimeError as error:  # the only kind that FAISS raises
                logger.warning("the GPU gave up on building an index; the CPU goes on with it: %s", error)
                self._first = None
        step = self._on_cpu.block
        return np.concatenate([self._on_cpu(points[start : start + step]) for start in range(0, len(points), step)])
