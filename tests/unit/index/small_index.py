"""Indexes of a few vectors, made in memory, that answer exactly."""

from functools import cache
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.vectors import VectorFile

Float32 = NDArray[np.float32]

DIMENSION = 8
NLIST = 4


def units(rng: np.random.Generator, n: int, d: int = DIMENSION) -> Float32:
    """Random unit vectors, rounded to what float16 holds."""
    drawn = rng.standard_normal((n, d))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float16).astype(np.float32)


@cache
def _trained() -> Any:
    quantizer = faiss.IndexFlatIP(DIMENSION)
    ivf = faiss.IndexIVFPQ(quantizer, DIMENSION, NLIST, 4, 8, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.min_points_per_centroid = ivf.pq.cp.min_points_per_centroid = 1
    ivf.train(units(np.random.default_rng(0), 600))
    return ivf


def vector_file(vectors: Float32) -> VectorFile:
    """The vectors as a file would give them."""
    matrix = vectors.astype(np.float16)
    stored = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    if len(matrix):
        stored.add_sa_codes(matrix.view(np.uint8))
    return VectorFile(matrix, stored)


def small_ivfpq(vectors: Float32, **options: Any) -> IvfPqIndex:
    """An IVF-PQ index that visits every list and re-ranks every vector."""
    ivf = faiss.clone_index(_trained())
    ivf.add(vectors)
    return IvfPqIndex(ivf, vector_file(vectors), **{"nprobe": NLIST, "overfetch": 1e6, "threads": 1, **options})
