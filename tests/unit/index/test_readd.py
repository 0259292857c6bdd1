"""Building again with what was trained before: what is taken over, when it is not, and what an end leaves."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.clustered_vectors import clustered
from clipsearch.errors import Cancelled, UnusableIndex
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.manifest import MANIFEST, IndexManifest
from clipsearch.index.readd import find_trained
from clipsearch.index.rules import Kind, Training
from clipsearch.index.storage import IVFPQ, LoadedIndex, describe_files, find_snapshots, open_index, read_manifest

N, D = 12_000, 16
OPTIONS = IndexOptions(Kind.IVFPQ, threads=2, training=Training.WHERE_NEEDED)
MODEL = "ab" * 32
Codes = dict[int, tuple[int, bytes]]


@dataclass
class Catalogue:
    """Living rows and their vectors; the sequence number grows with every change."""

    directory: Path
    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    seq: int = 1

    def add(self, vectors: NDArray[np.float32]) -> None:
        new = np.arange(len(vectors)) + self.rows[-1] + 3
        self.rows, self.vectors = np.append(self.rows, new), np.concatenate([self.vectors, vectors])
        self.seq += 1

    def remove(self, positions: NDArray[np.int64]) -> None:
        self.rows, self.vectors = np.delete(self.rows, positions), np.delete(self.vectors, positions, axis=0)
        self.seq += 1

    def build(self, options: IndexOptions = OPTIONS, **changes: Any) -> tuple[IndexManifest, list[str]]:
        """Build an index; returns its manifest and the stages that it went through."""
        stages: dict[str, None] = {}

        def report(stage: str, done: int, total: int) -> None:
            stages[stage] = None
            if stage == changes.get("end_at"):
                raise Cancelled("it was asked for")

        return build_index(self.directory, self.source(), options, report), list(stages)

    def source(self) -> IndexSource:
        def blocks() -> Iterator[NDArray[np.float16]]:
            for start in range(0, len(self.vectors), 999):
                yield self.vectors[start : start + 999].astype(np.float16)

        return IndexSource(self.rows, D, blocks(), map(str, self.rows.tolist()), self.seq, model_hash=MODEL)

    def opened(self) -> LoadedIndex:
        return open_index(self.directory, "cpu", 1)

    def recall(self) -> float:
        """Recall@10 of 200 items against exact search, their own row among the answers."""
        asked = np.random.default_rng(5).choice(len(self.vectors), 200, replace=False)
        stored = self.vectors.astype(np.float16).astype(np.float32)
        scores = stored[asked] @ stored.T
        kth = np.sort(scores, axis=1)[:, -10]
        found, _ = self.opened().index.search(stored[asked], 10)
        return float((found >= kth[:, None] - 1e-5).mean())


@pytest.fixture(name="data", scope="module")
def _data() -> NDArray[np.float32]:
    return clustered(N + 3_000, D, 20, seed=1).base


@pytest.fixture(name="built", scope="module")
def _built(data: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    catalogue = Catalogue(tmp_path_factory.mktemp("built"), np.arange(N, dtype=np.int64) * 2, data[:N])
    _, stages = catalogue.build()
    assert "training" in stages, "there was nothing to take over"
    return catalogue


@pytest.fixture(name="catalogue")
def _catalogue(built: Catalogue, tmp_path: Path) -> Catalogue:
    """With an index that was trained on all of it, to be changed at will."""
    shutil.copytree(built.directory, tmp_path / "copy")
    return replace(built, directory=tmp_path / "copy")


def trained_at(manifest: IndexManifest) -> int:
    assert manifest.ivfpq is not None
    return manifest.ivfpq.training.seq


def codes_by_row(catalogue: Catalogue) -> Codes:
    """The list and the code of every row, read from the files."""
    found = catalogue.opened()
    ivf: Any = faiss.read_index(str(found.path / IVFPQ))
    codes: Codes = {}
    for i in range(ivf.nlist):
        if size := ivf.invlists.list_size(i):
            ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(i), size)
            stored = faiss.rev_swig_ptr(ivf.invlists.get_codes(i), size * ivf.code_size).reshape(size, -1)
            codes |= {row: (i, code.tobytes()) for row, code in zip(found.rows[ids].tolist(), stored, strict=True)}
    return codes


def test_codes_move_with_their_rows_and_new_ones_are_what_faiss_would_make(
    catalogue: Catalogue, data: NDArray[np.float32]
) -> None:
    before, trained = codes_by_row(catalogue), find_trained(catalogue.directory, D, MODEL, 1)
    assert trained is not None
    gone = np.arange(0, N, 7)
    catalogue.remove(gone)
    catalogue.add(data[N : N + 500])
    manifest, stages = catalogue.build()
    after = codes_by_row(catalogue)
    assert "training" not in stages and trained_at(manifest) == 1 and manifest.seq == 3
    old = catalogue.rows[:-500].tolist()
    assert set(after) == set(catalogue.rows.tolist())
    assert all(after[row] == before[row] for row in old)
    trained.ivf.reset()
    trained.ivf.add(data[N : N + 500].astype(np.float16).astype(np.float32))
    for i in range(trained.ivf.nlist):
        for position in faiss.rev_swig_ptr(trained.ivf.invlists.get_ids(i), trained.ivf.invlists.list_size(i)):
            assert after[int(catalogue.rows[-500 + position])][0] == i


def test_an_index_that_was_added_again_keeps_its_recall_and_says_what_it_is(
    catalogue: Catalogue, data: NDArray[np.float32]
) -> None:
    before = catalogue.recall()
    catalogue.add(data[N : N + 2_000])
    manifest, _ = catalogue.build()
    assert manifest.image_recall is not None and manifest.image_recall.met
    assert catalogue.recall() >= min(before - 0.02, 0.95)
    # And once more, from an index that was itself added to.
    catalogue.add(data[N + 2_000 :])
    assert trained_at(catalogue.build()[0]) == 1
    assert catalogue.recall() >= 0.95


def test_drift_adds_up_over_rebuilds_until_it_trains(catalogue: Catalogue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    others = clustered(2_000, D, 20, seed=9).base
    trained = []
    for start in range(0, 2_000, 500):
        catalogue.add(others[start : start + 500])
        trained.append(trained_at(catalogue.build()[0]))
    # A tenth of what lives is reached with the third.
    assert trained == [1, 1, 4, 4]
    assert any("training: drift: 1500 newer vectors" in line for line in caplog.messages)
    assert catalogue.recall() >= 0.95


def test_it_trains_where_the_number_of_lists_no_longer_fits(catalogue: Catalogue) -> None:
    catalogue.remove(np.arange(N - N // 8))
    assert trained_at(catalogue.build()[0]) == 2


def test_it_trains_where_recall_would_miss_its_target(
    catalogue: Catalogue, caplog: pytest.LogCaptureFixture, data: NDArray[np.float32]
) -> None:
    caplog.set_level(logging.INFO)
    (path,) = find_snapshots(catalogue.directory)
    ivf: Any = faiss.read_index(str(path / IVFPQ))
    # Codes that mean nothing, in files that are whole.
    noise = np.random.default_rng(0).standard_normal(ivf.pq.centroids.size(), dtype=np.float32)
    faiss.copy_array_to_vector(noise, ivf.pq.centroids)
    faiss.write_index(ivf, str(path / IVFPQ))
    manifest = read_manifest(path)
    (path / MANIFEST).unlink()
    (path / MANIFEST).write_text(manifest.model_copy(update={"files": describe_files(path)}).model_dump_json())
    catalogue.add(data[N : N + 100])
    assert trained_at(catalogue.build()[0]) == 2
    assert any("training: added again, recall@10 is 0." in line for line in caplog.messages)
    assert catalogue.recall() >= 0.95


@pytest.mark.parametrize("training", [Training.ALWAYS, Training.WHERE_NEEDED])
def test_a_damaged_index_is_not_taken_over(
    catalogue: Catalogue, training: Training, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = find_snapshots(catalogue.directory)
    whole = (path / IVFPQ).read_bytes()
    (path / IVFPQ).write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    catalogue.seq += 1
    assert trained_at(catalogue.build(replace(OPTIONS, training=training))[0]) == 2
    assert any("cannot be taken over" in line for line in caplog.messages) is (training is Training.WHERE_NEEDED)


@pytest.mark.parametrize(
    ("model_hash", "seq", "found"), [(MODEL, 1, True), ("cd" * 32, 1, False), (None, 1, False), (MODEL, 0, False)]
)
def test_of_another_model_or_history_nothing_is_taken_over(
    catalogue: Catalogue, model_hash: str | None, seq: int, found: bool
) -> None:
    assert (find_trained(catalogue.directory, D, model_hash, seq) is not None) is found


def test_in_haste_nothing_is_trained_or_measured(catalogue: Catalogue, tmp_path: Path) -> None:
    haste = replace(OPTIONS, training=Training.NEVER)
    catalogue.add(clustered(3_000, D, 20, seed=9).base)
    manifest, stages = catalogue.build(haste)
    assert stages == ["writing", "adding"]
    assert (trained_at(manifest), manifest.image_recall, manifest.size) == (1, None, N + 3_000)
    nothing = replace(catalogue, directory=tmp_path / "nothing")
    with pytest.raises(UnusableIndex, match="no index whose training"):
        nothing.build(haste)
    assert list((tmp_path / "nothing").iterdir()) == []


@pytest.mark.parametrize("stage", ["writing", "checking", "training", "adding", "tuning"])
def test_a_build_that_is_ended_leaves_the_old_index_and_nothing_else(catalogue: Catalogue, stage: str) -> None:
    catalogue.seq += 1
    with pytest.raises(Cancelled):
        catalogue.build(replace(OPTIONS, training=Training.ALWAYS), end_at=stage)
    assert [path.name for path in catalogue.directory.iterdir()] == ["index-1"]
    assert catalogue.opened().manifest.seq == 1
