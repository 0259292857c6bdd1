"""Finding the nearest of many centroids, in numpy and by FAISS as on a GPU."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from benchmarks.clustered_vectors import clustered
from clipsearch.errors import DeviceUnavailable
from clipsearch.index.gpu import gpu_count
from clipsearch.index.gpu_matching import OrOnCpu, match_for
from clipsearch.index.inverted import codewords_of, empty_like
from clipsearch.index.kmeans import assign, kmeans
from clipsearch.index.lists import centroids_of
from clipsearch.index.matching import FAISS_BLOCK, Labels, Matcher, NearestByDistance, NearestByFaiss, NearestByProduct
from clipsearch.index.rules import choose_shape
from clipsearch.index.train import add, train
from clipsearch.ports import Vectors

POINTS = clustered(FAISS_BLOCK + 500, 16, 30, seed=4).base
CENTROIDS = POINTS[:: len(POINTS) // 64][:64].copy()


def by_faiss(centroids: Vectors) -> Matcher:
    return NearestByFaiss(faiss.IndexFlatIP(centroids.shape[1]), centroids)


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


def test_faiss_finds_the_same_centroids() -> None:
    with ThreadPoolExecutor(2) as pool:
        mine = assign(POINTS, NearestByProduct(CENTROIDS), pool)
        np.testing.assert_array_equal(assign(POINTS, by_faiss(CENTROIDS), pool), mine)
    assert mine.dtype == np.int64 and mine.shape == (len(POINTS),)
    np.testing.assert_array_equal(mine, (POINTS @ CENTROIDS.T).argmax(axis=1))


def test_by_distance_is_another_matter_where_lengths_differ() -> None:
    lengths = np.linspace(0.5, 2.0, len(CENTROIDS), dtype=np.float32)[:, None]
    labels = NearestByDistance(CENTROIDS * lengths)(POINTS[:200])
    distances = np.linalg.norm(POINTS[:200, None] - CENTROIDS * lengths, axis=2)
    np.testing.assert_allclose(distances[np.arange(200), labels], distances.min(axis=1), rtol=1e-5)
    assert (labels != NearestByProduct(CENTROIDS * lengths)(POINTS[:200])).any()


def test_training_with_faiss_gives_the_same_centroids() -> None:
    with ThreadPoolExecutor(2) as pool:
        mine = kmeans(POINTS, 32, pool, iterations=4, seed=1)
        theirs = kmeans(POINTS, 32, pool, iterations=4, seed=1, match=by_faiss)
    np.testing.assert_allclose(theirs, mine, atol=1e-5)


def test_an_index_is_trained_and_filled_alike() -> None:
    matrix = POINTS[:4_000].astype(np.float16)
    shape = choose_shape(len(matrix), matrix.shape[1])
    positions = np.arange(len(matrix), dtype=np.int64)
    with ThreadPoolExecutor(2) as pool:
        mine = train(matrix, shape, 3, pool, silent)
        theirs = train(matrix, shape, 3, pool, silent, match=by_faiss)
        np.testing.assert_allclose(centroids_of(theirs), centroids_of(mine), atol=1e-5)
        np.testing.assert_allclose(codewords_of(theirs), codewords_of(mine), atol=1e-4)
        twin = empty_like(mine)
        add(mine, matrix, positions, pool, silent)
        add(twin, matrix, positions, pool, silent, match=by_faiss)
    assert twin.ntotal == mine.ntotal == len(matrix)
    for i in range(mine.nlist):
        assert twin.invlists.list_size(i) == mine.invlists.list_size(i)
    queries = POINTS[-20:]
    np.testing.assert_array_equal(twin.search(queries, 5)[1], mine.search(queries, 5)[1])


class Failing:
    """Answers a number of times, and then finds no memory."""

    block = FAISS_BLOCK

    def __init__(self, inner: Matcher, answers: int) -> None:
        self.inner, self.left, self.asked = inner, answers, 0

    def __call__(self, points: Vectors) -> Labels:
        self.asked += 1
        if self.left == 0:
            raise RuntimeError("StandardGpuResources: alloc fail: cudaMalloc error out of memory")
        self.left -= 1
        return self.inner(points)


def test_where_the_gpu_gives_up_the_cpu_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    first = Failing(by_faiss(CENTROIDS), 1)
    matcher = OrOnCpu(first, NearestByProduct(CENTROIDS))
    with ThreadPoolExecutor(1) as pool:
        found = assign(POINTS, matcher, pool)
        np.testing.assert_array_equal(assign(POINTS, matcher, pool), found)
    np.testing.assert_array_equal(found, (POINTS @ CENTROIDS.T).argmax(axis=1))
    assert first.asked == 2
    assert "the CPU goes on with it: StandardGpuResources: alloc fail" in caplog.text


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU, so that nothing is refused")
def test_without_a_gpu_an_index_is_matched_on_the_cpu() -> None:
    assert match_for("auto") is NearestByProduct is match_for("cpu")
    with pytest.raises(DeviceUnavailable, match="sees no GPU"):
        match_for("cuda")
