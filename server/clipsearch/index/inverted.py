"""``faiss.IndexIVFPQ`` on the CPU: made empty, and filled with the codes of another of the same training."""

from typing import Any

import faiss

from clipsearch.index.lists import centroids_of
from clipsearch.ports import Rows, Vectors


def empty_ivfpq(centroids: Vectors, codewords: Vectors) -> Any:
    """Return a trained index without vectors.

    ``centroids`` are float32 [nlist, d], ``codewords`` float32 [m, 256, d / m]: codes have ``m`` bytes.
    """
    nlist, d = centroids.shape
    quantizer = faiss.IndexFlatIP(d)
    quantizer.add(centroids)
    ivf = faiss.IndexIVFPQ(quantizer, d, nlist, len(codewords), 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(codewords.ravel(), ivf.pq.centroids)
    ivf.is_trained = True
    return ivf


def empty_like(ivf: Any) -> Any:
    """Return an index of the same training without vectors."""
    return empty_ivfpq(centroids_of(ivf), codewords_of(ivf))


def codewords_of(ivf: Any) -> Vectors:
    """Return what the product quantiser of an index was trained to, float32 [m, 256, d / m]."""
    codewords: Vectors = faiss.vector_to_array(ivf.pq.centroids).reshape(ivf.pq.M, ivf.pq.ksub, ivf.pq.dsub)
    return codewords


def move_codes(source: Any, to: Any, places: Rows) -> None:
    """Copy codes, list by list, into an index of the same training.

    ``places`` int64 [N] gives the new position of each position of ``source``, -1 for those to leave behind.
    """
    for i in range(source.nlist):
        size = source.invlists.list_size(i)
        if size == 0:
            continue
        positions = places[faiss.rev_swig_ptr(source.invlists.get_ids(i), size)]
        codes = faiss.rev_swig_ptr(source.invlists.get_codes(i), size * source.code_size).reshape(size, -1)
        codes = codes[positions >= 0]
        positions = positions[positions >= 0]
        if len(positions):
            to.invlists.add_entries(i, len(positions), faiss.swig_ptr(positions), faiss.swig_ptr(codes))
        to.ntotal += len(positions)
