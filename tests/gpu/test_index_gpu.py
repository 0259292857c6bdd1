"""The GPU index against the CPU index of the same files."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from benchmarks.clustered_vectors import Clustered, clustered
from clipsearch.errors import NprobeOutOfRange
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.gpu import gpu_count
from clipsearch.index.rerank import MOST_CANDIDATES
from clipsearch.index.rules import Kind
from clipsearch.index.storage import open_index
from clipsearch.selection import Selection

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not hasattr(faiss, "StandardGpuResources") or gpu_count() == 0,
        reason="this FAISS has no GPU to use (a CUDA device and the gpu extra are needed)",
    ),
]


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


def test_the_same_answers_as_on_the_cpu(collection: Path, data: Clustered) -> None:
    cpu, gpu = (open_index(collection, device).index for device in ("cpu", "cuda"))
    assert (gpu.size, gpu.dimension) == (cpu.size, cpu.dimension)
    scores, rows = cpu.search(data.image_queries, 10)
    gpu_scores, gpu_rows = gpu.search(data.image_queries, 10)
    agree = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), gpu_rows.tolist(), strict=True)])
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
    agree = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), gpu_found.tolist(), strict=True)])
    assert agree >= 0.95
    np.testing.assert_allclose(gpu_scores[:, 0], scores[:, 0], atol=2e-3)


def test_limits_of_the_device(collection: Path, data: Clustered) -> None:
    gpu = open_index(collection, "cuda").index
    assert gpu.max_nprobe <= MOST_CANDIDATES
    scores, rows = gpu.search(data.image_queries[:2], MOST_CANDIDATES + 10)
    assert scores.shape == rows.shape == (2, MOST_CANDIDATES + 10)
    assert (rows[:, MOST_CANDIDATES:] == -1).all()
    assert gpu.search(data.image_queries[:0], 5)[1].shape == (0, 5)
    if gpu.max_nprobe > 1:
        with pytest.raises(NprobeOutOfRange):
            gpu.search(data.image_queries, 10, gpu.max_nprobe + 1)
