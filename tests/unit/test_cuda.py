"""What fits on a GPU, reckoned before anything is placed there."""

import faiss
import numpy as np
import pytest

from clipsearch.cuda import Room
from clipsearch.errors import DeviceUnavailable
from clipsearch.index.gpu import SCRATCH_BYTES, needs

GIB = 2**30


def test_what_fits_leaves_the_rest() -> None:
    assert Room(10 * GIB, 16 * GIB).less("an index", {"codes": 3 * GIB, "scratch": GIB}) == 6 * GIB
    assert Room(4 * GIB, 16 * GIB).less("an index", {"codes": 3 * GIB, "scratch": GIB}) == 0


def test_what_does_not_fit_is_refused_with_the_sums() -> None:
    with pytest.raises(DeviceUnavailable) as refused:
        Room(GIB // 2, 16 * GIB).less("an index of 1,000 vectors", {"codes": 3 * GIB // 2, "scratch": GIB})
    assert refused.value.message.startswith(
        "an index of 1,000 vectors needs 2.50 GiB on the GPU (1.50 of codes, 1.00 of scratch), "
        "and 0.50 of its 16.00 GiB are free"
    )


def test_an_index_is_as_large_as_its_codes() -> None:
    dimension, lists, sub_quantisers = 32, 4, 8
    index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dimension), dimension, lists, sub_quantisers, 8)
    vectors = np.random.default_rng(0).normal(size=(1000, dimension)).astype(np.float32)
    index.train(vectors)
    index.add(vectors)
    assert needs(index) == {
        "codes": 1000 * (sub_quantisers + 8),
        "centroids": lists * dimension * 4,
        "scratch": SCRATCH_BYTES,
    }
    assert needs(None) == {"scratch": SCRATCH_BYTES}
