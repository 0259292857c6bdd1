"""An index over several devices: the same answers as one, whatever the parts."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.clustered_vectors import Clustered, clustered
from clipsearch.errors import NprobeOutOfRange, TopKOutOfRange
from clipsearch.index.flat import FlatIndex
from clipsearch.index.gpu import part_of
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.rules import Kind
from clipsearch.index.spread import Replicas, Shards, bounds
from clipsearch.index.storage import newest_snapshot, open_index, read_ivfpq
from clipsearch.index.vectors import VectorFileWriter, open_vectors
from clipsearch.ports import VectorIndex
from clipsearch.selection import Selection
from tests.unit.index.conftest import build

PARTS = 3


@pytest.fixture(scope="module")
def data() -> Clustered:
    return clustered(3_001, 32, 40, seed=2)


@pytest.fixture(scope="module")
def flat(data: Clustered) -> FlatIndex:
    return FlatIndex(data.base.astype(np.float16))


def flat_shards(data: Clustered, parts: int = PARTS) -> Shards:
    halves = data.base.astype(np.float16)
    cut = bounds(len(halves), parts)
    return Shards([FlatIndex(halves[start:stop]) for start, stop in cut], [start for start, _ in cut])


@pytest.fixture(scope="module")
def ivfpq(data: Clustered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spread")
    build(path, data, Kind.IVFPQ)
    return path


def ivfpq_shards(collection: Path, tmp: Path) -> tuple[IvfPqIndex, Shards]:
    """The index of a collection whole, and the same in parts as GPUs would hold them."""
    loaded = open_index(collection, "cpu", 1)
    whole = loaded.index
    assert isinstance(whole, IvfPqIndex)
    ivf = read_ivfpq(newest_snapshot(collection), loaded.manifest)
    parts: list[VectorIndex] = []
    cut = bounds(whole.size, PARTS)
    for start, stop in cut:
        with VectorFileWriter(tmp / str(start), stop - start, whole.dimension) as writer:
            writer.append(whole.matrix[start:stop])
        file = open_vectors(tmp / str(start), stop - start, whole.dimension)
        parts.append(
            IvfPqIndex(part_of(ivf, start, stop), file, nprobe=whole.nprobe, overfetch=whole.overfetch, threads=1)
        )
    return whole, Shards(parts, [start for start, _ in cut])


@given(size=st.integers(0, 500), parts=st.integers(1, 9))
def test_bounds_cover_every_position_once_and_begin_at_whole_bytes(size: int, parts: int) -> None:
    cut = bounds(size, parts)
    assert len(cut) == parts and cut[0][0] == 0 and cut[-1][1] == size
    assert all(stop == start for (_, stop), (start, _) in pairwise(cut))
    assert all(start % 8 == 0 or start == size for start, _ in cut)
    assert max(stop - start for start, stop in cut) <= -(-size // parts) + 7


@settings(deadline=None, max_examples=30)
@given(k=st.integers(1, 40), share=st.sampled_from([None, 1.0, 0.5, 0.01, 0.0]), dead=st.integers(0, 200))
def test_exact_shards_answer_as_one_index(k: int, share: float | None, dead: int) -> None:
    data = clustered(1_003, 16, 20, seed=5)
    whole, shards = FlatIndex(data.base.astype(np.float16)), flat_shards(data)
    only = None
    if share is not None:
        rng = np.random.default_rng(k)
        only = Selection.of(whole.size, np.flatnonzero(rng.random(whole.size) < share))
        some = only.positions[: min(dead, only.count)]
        only = only.without(some) if len(some) else only
    scores, found = whole.search(data.image_queries, k, only=only)
    for way in (shards.search(data.image_queries, k, only=only), shards.search_exactly(data.image_queries, k, only)):
        np.testing.assert_allclose(way[0], scores, atol=1e-6)
        same = way[1] == found
        # Products of other blocks differ in their last bits, so equal scores may change places.
        assert (same | np.isclose(way[0], scores, atol=1e-6)).all()
        assert only is None or only.contains(way[1][way[1] >= 0]).all()
        np.testing.assert_array_equal(way[1] < 0, found < 0)


def test_shards_of_an_ivfpq_find_at_least_what_it_finds(data: Clustered, ivfpq: Path, tmp_path: Path) -> None:
    whole, shards = ivfpq_shards(ivfpq, tmp_path)
    assert (shards.size, shards.dimension, shards.is_exact) == (whole.size, whole.dimension, False)
    assert shards.max_nprobe == whole.max_nprobe
    for only in (None, Selection.of(whole.size, np.arange(0, whole.size, 3, dtype=np.int64))):
        scores, _ = whole.search(data.image_queries, 10, only=only)
        sharded, rows = shards.search(data.image_queries, 10, only=only)
        # Each part re-ranks as many candidates as the whole index does, so none that it finds is lost.
        assert (sharded[:, -1] >= scores[:, -1] - 1e-5).all()
        assert only is None or only.contains(rows).all()
        right, _ = whole.search_exactly(data.image_queries, 10, only)
        np.testing.assert_allclose(shards.search_exactly(data.image_queries, 10, only)[0], right, atol=1e-5)


def test_shards_know_the_vectors_of_all_parts(data: Clustered, flat: FlatIndex) -> None:
    positions = np.array([3_000, 0, 1_500, 999, 1_000, 1_008], dtype=np.int64)
    np.testing.assert_array_equal(flat_shards(data).vectors(positions), flat.vectors(positions))


def test_more_shards_than_there_is_anything_for(data: Clustered) -> None:
    few = Clustered(data.base[:9], data.image_queries, data.text_queries)
    shards = flat_shards(few, parts=4)
    scores, rows = shards.search(data.image_queries[:3], 12)
    assert (np.sort(rows[:, :9], axis=1) == np.arange(9)).all()
    assert (rows[:, 9:] == -1).all() and np.isneginf(scores[:, 9:]).all()
    assert shards.search(data.image_queries[:3], 5, only=Selection.of(9, np.empty(0, np.int64)))[1].max() == -1


def test_replicas_deal_out_the_queries(data: Clustered, flat: FlatIndex) -> None:
    replicas = Replicas([FlatIndex(data.base.astype(np.float16)) for _ in range(PARTS)])
    only = Selection.of(flat.size, np.arange(0, flat.size, 2, dtype=np.int64))
    for count in (0, 1, 2, 7):
        some = data.image_queries[:count]
        for chosen in (None, only):
            scores, rows = flat.search(some, 10, only=chosen)
            for way in (replicas.search(some, 10, only=chosen), replicas.search_exactly(some, 10, chosen)):
                np.testing.assert_allclose(way[0], scores, atol=1e-6)
                np.testing.assert_array_equal(way[1], rows)
    np.testing.assert_array_equal(replicas.vectors(np.array([5])), flat.vectors(np.array([5])))


def test_what_no_index_takes_is_refused(data: Clustered, ivfpq: Path, tmp_path: Path) -> None:
    whole, shards = ivfpq_shards(ivfpq, tmp_path)
    with pytest.raises(TopKOutOfRange):
        shards.search(data.image_queries, 0)
    with pytest.raises(NprobeOutOfRange):
        shards.search(data.image_queries, 5, whole.max_nprobe + 1)
    with pytest.raises(NprobeOutOfRange):
        Replicas([whole, whole]).search(data.image_queries, 5, whole.max_nprobe + 1)


def test_newer_vectors_are_compared_where_the_first_part_lies(data: Clustered, flat: FlatIndex) -> None:
    newer = data.base[:50].astype(np.float16).astype(np.float32)
    scores, rows = flat_shards(data).scanner()(data.image_queries, newer, 5, None)
    expected = FlatIndex(newer).search(data.image_queries, 5)
    np.testing.assert_allclose(scores, expected[0], atol=1e-6)
    np.testing.assert_array_equal(rows, expected[1])
