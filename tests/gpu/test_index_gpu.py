"""The GPU index against the CPU index of the same files."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from benchmarks.clustered_vectors import Clustered, clustered
from clipsearch.cuda import HandedVectors
from clipsearch.errors import DeviceUnavailable, NprobeOutOfRange
from clipsearch.index import gpu_device
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.flat import scan_selected
from clipsearch.index.gpu import Gpus, gpu_count
from clipsearch.index.gpu_matching import match_for
from clipsearch.index.kmeans import assign, kmeans
from clipsearch.index.live import LiveIndex
from clipsearch.index.matching import NearestByProduct
from clipsearch.index.rerank import MOST_CANDIDATES
from clipsearch.index.rules import Kind
from clipsearch.index.storage import open_index
from clipsearch.ports import Rows
from clipsearch.selection import Selection
from tests.gpu.marks import on_a_gpu

pytestmark = on_a_gpu


@pytest.fixture(scope="module")
def data() -> Clustered:
    return clustered(30_000, 128, 200, seed=1)


@pytest.fixture(scope="module", params=[Kind.FLAT, Kind.IVFPQ])
def collection(request: pytest.FixtureRequest, data: Clustered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu")
    n, d = data.base.shape
    blocks = (data.base[start : start + 4096].astype(np.float16) for start in range(0, n, 4096))
    source = IndexSource(np.arange(n), d, blocks, map(str, range(n)), seq=1, text_queries=data.text_queries)
    build_index(path, source, IndexOptions(kind=request.param))
    return path


def overlap(right: Rows, found: Rows) -> float:
    """How much of what is right was found, padding left out, over all queries."""
    both = [(set(a) - {-1}, set(b) - {-1}) for a, b in zip(right.tolist(), found.tolist(), strict=True)]
    return float(np.mean([len(a & b) / len(a) for a, b in both]))


def test_the_same_answers_as_on_the_cpu(collection: Path, data: Clustered) -> None:
    cpu, gpu = (open_index(collection, device).index for device in ("cpu", "cuda"))
    assert (gpu.size, gpu.dimension) == (cpu.size, cpu.dimension)
    scores, rows = cpu.search(data.image_queries, 10)
    gpu_scores, gpu_rows = gpu.search(data.image_queries, 10)
    agree = overlap(rows, gpu_rows)
    # Codes are scanned with float16 tables there, so a few candidates differ; scores are exact in both.
    assert agree >= 0.98
    np.testing.assert_allclose(gpu_scores[:, 0], scores[:, 0], atol=2e-3)
    np.testing.assert_array_equal(gpu.vectors(rows[0]), cpu.vectors(rows[0]))


@pytest.mark.parametrize("share", [0.99, 0.5, 0.05, 0.001])
def test_only_what_is_selected(collection: Path, data: Clustered, share: float) -> None:
    cpu, gpu = (open_index(collection, device).index for device in ("cpu", "cuda"))
    only = Selection.of(cpu.size, np.flatnonzero(np.random.default_rng(3).random(cpu.size) < share))
    scores, found = cpu.search(data.image_queries, 10, only=only)
    gpu_scores, gpu_found = gpu.search(data.image_queries, 10, only=only)
    assert (gpu_found >= 0).all() and only.contains(gpu_found).all()
    agree = overlap(found, gpu_found)
    assert agree >= 0.95
    np.testing.assert_allclose(gpu_scores[:, 0], scores[:, 0], atol=2e-3)


@pytest.mark.parametrize("gathered", [500, 10_000, gpu_device.GATHERED_ROWS])
@pytest.mark.parametrize("apart", [False, True])
def test_exactly_means_exactly_however_many_are_selected(
    collection: Path, data: Clustered, monkeypatch: pytest.MonkeyPatch, gathered: int, apart: bool
) -> None:
    """``apart``: whatever is near the queries is not selected, so that candidates of all would hold none that is."""
    monkeypatch.setattr(gpu_device, "GATHERED_ROWS", gathered)
    cpu, gpu = (open_index(collection, device).index for device in ("cpu", "cuda"))
    near = (data.base @ data.image_queries[:20].T).max(axis=1)
    selected = np.argsort(near)[: cpu.size // 2] if apart else np.arange(0, cpu.size, 2)
    only = Selection.of(cpu.size, np.sort(selected)).without(np.sort(selected)[:30])
    scores, rows = cpu.search_exactly(data.image_queries[:20], 10, only)
    gpu_scores, gpu_rows = gpu.search_exactly(data.image_queries[:20], 10, only)
    assert only.contains(gpu_rows.ravel()).all()
    np.testing.assert_allclose(gpu_scores, scores, atol=2e-3)
    assert (gpu_rows == rows).mean() >= 0.98


@pytest.mark.parametrize("dead", [0, 5, 3_000])
def test_newer_vectors_are_compared_on_the_gpu_as_they_come(collection: Path, data: Clustered, dead: int) -> None:
    scan = open_index(collection, "cuda").index.scanner()
    newer = data.base[:9_000].astype(np.float16).astype(np.float32)
    for count in (10, 4_096, 9_000, 4_000):
        gone = np.arange(0, count, max(1, count // dead) if dead else 1)[: min(dead, count // 2)]
        only = Selection.everything(count).without(gone) if dead else None
        scores, rows = scan_selected(data.image_queries, newer[:count], 10, only)
        gpu_scores, gpu_rows = scan(data.image_queries, newer[:count], 10, only)
        np.testing.assert_allclose(gpu_scores, scores, atol=2e-3)
        agree = overlap(rows, gpu_rows)
        assert agree >= 0.99
        assert only is None or only.contains(gpu_rows[gpu_rows >= 0]).all()


def test_a_search_sees_what_was_written_after_the_index(collection: Path, data: Clustered) -> None:
    loaded = open_index(collection, "cuda")
    live = LiveIndex(loaded.index.dimension, loaded.index, loaded.rows, loaded.manifest.seq)
    end = int(loaded.rows[-1]) + 1
    added = data.image_queries[:50].astype(np.float16)
    live.apply(np.arange(end, end + 50), added, np.array([0, 1], dtype=np.int64), loaded.manifest.seq + 1)
    scores, rows = live.view.search(data.image_queries[:50], 3)
    np.testing.assert_array_equal(rows[:, 0], np.arange(end, end + 50))
    np.testing.assert_allclose(scores[:, 0], 1.0, atol=2e-3)


def test_threads_take_turns(collection: Path, data: Clustered) -> None:
    index = open_index(collection, "cuda").index
    scan = index.scanner()
    newer, queries = data.base[:5_000].astype(np.float16).astype(np.float32), data.image_queries[:20]

    def both(count: int) -> tuple[list[list[int]], list[list[int]]]:
        found, later = index.search(queries, 10)[1], scan(queries, newer[:count], 10, None)[1]
        return found.tolist(), later.tolist()

    counts = [100, 5_000, 2_000, 4_500] * 8
    alone = {count: both(count) for count in counts}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(both, counts)) == [alone[count] for count in counts]


def test_lists_are_found_on_the_gpu_as_on_the_cpu(data: Clustered) -> None:
    match = match_for("cuda")
    centroids = data.base[:: len(data.base) // 256][:256].copy()
    points = data.base[:20_000]
    with ThreadPoolExecutor(2) as pool:
        mine, theirs = (assign(points, one(centroids), pool) for one in (NearestByProduct, match))
        # Sums in another order: points between two centroids may go to either.
        assert (mine == theirs).mean() >= 0.999
        trained = kmeans(points, 64, pool, iterations=5, seed=1, match=match)
    assert trained.shape == (64, data.base.shape[1])
    np.testing.assert_allclose(np.linalg.norm(trained, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("split", ["shards", "replicas"])
@pytest.mark.parametrize("from_a_tower", [False, True])
def test_several_gpus_answer_as_one(
    collection: Path, data: Clustered, split: Literal["shards", "replicas"], from_a_tower: bool
) -> None:
    """``from_a_tower``: queries that lie on the first GPU already."""
    if gpu_count() < 2:
        pytest.skip("there is one GPU, and this takes two")
    one = open_index(collection, "cuda").index
    queries = data.image_queries
    if from_a_tower:
        device = gpu_device.Device(0)
        with device.current():
            queries = HandedVectors.of(queries.copy(), device.cupy.asarray(queries))
    two = open_index(collection, "cuda", gpus=Gpus(2, split)).index
    only = Selection.of(one.size, np.arange(0, one.size, 3))
    for chosen in (None, only):
        scores, rows = one.search(queries, 10, only=chosen)
        spread, found = two.search(queries, 10, only=chosen)
        agree = overlap(rows, found)
        assert agree >= 0.95
        assert (spread[:, 0] >= scores[:, 0] - 2e-3).all()


def test_more_gpus_than_there_are_is_refused(collection: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=f"{gpu_count() + 1} GPUs were asked for"):
        open_index(collection, "cuda", gpus=Gpus(gpu_count() + 1))


def test_limits_of_the_device(collection: Path, data: Clustered) -> None:
    gpu = open_index(collection, "cuda").index
    assert gpu.max_nprobe <= MOST_CANDIDATES == gpu.max_k
    scores, rows = gpu.search(data.image_queries[:2], MOST_CANDIDATES + 10)
    assert scores.shape == rows.shape == (2, MOST_CANDIDATES + 10)
    assert (rows[:, MOST_CANDIDATES:] == -1).all()
    assert gpu.search(data.image_queries[:0], 5)[1].shape == (0, 5)
    if gpu.max_nprobe > 1:
        with pytest.raises(NprobeOutOfRange):
            gpu.search(data.image_queries, 10, gpu.max_nprobe + 1)
