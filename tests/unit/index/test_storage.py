"""Files: what is written is read back, and what is damaged is refused with one sentence."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clustered_vectors import clustered
from clipsearch.errors import DeviceUnavailable, UnusableIndex
from clipsearch.index.build import IndexOptions, build_index
from clipsearch.index.gpu import gpu_count
from clipsearch.index.ids import open_ids, write_ids
from clipsearch.index.manifest import MANIFEST
from clipsearch.index.rows import ROWS, open_rows, write_rows
from clipsearch.index.rules import Kind
from clipsearch.index.storage import IVFPQ, VECTORS, open_index, snapshot_path
from clipsearch.index.vectors import VectorFileWriter, open_vectors

from .conftest import Built, build, source


@pytest.fixture
def copy(ivfpq: Built, tmp_path: Path) -> Path:
    """A collection directory of one's own to damage; returns the index directory inside."""
    shutil.copytree(ivfpq.collection, tmp_path / "copy")
    return snapshot_path(tmp_path / "copy", 7)


def test_a_second_opening_finds_the_same(ivfpq: Built) -> None:
    queries = ivfpq.data.image_queries
    again = open_index(ivfpq.collection, "cpu", 2)
    for one, other in zip(ivfpq.loaded.index.search(queries, 20), again.index.search(queries, 20), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.manifest == ivfpq.manifest
    assert again.ids[29_999] == "Stück/29999" and len(again.ids) == 30_000


def test_an_index_directory_can_be_opened_itself(ivfpq: Built) -> None:
    assert open_index(ivfpq.loaded.path, "cpu").manifest == ivfpq.manifest


def test_the_same_seed_builds_the_same(tmp_path: Path) -> None:
    one, other = (build(tmp_path / name, clustered(2_000, 16, 20), Kind.IVFPQ, seed=5) for name in "ab")
    assert one.manifest.ivfpq == other.manifest.ivfpq
    assert one.manifest.files == other.manifest.files
    assert one.manifest.files != build(tmp_path / "c", one.data, Kind.IVFPQ, seed=6).manifest.files


def test_manifest_says_what_is_there(ivfpq: Built) -> None:
    manifest, shape = ivfpq.manifest, ivfpq.manifest.ivfpq
    assert shape is not None
    assert (manifest.seq, manifest.kind, manifest.size, manifest.dimension) == (7, "ivfpq", 30_000, 64)
    assert (shape.nlist, shape.m, shape.training.sample) == (512, 32, 30_000)
    assert manifest.model_hash == "ab" * 32
    assert set(manifest.files) == {VECTORS, IVFPQ, "ids.offsets", "ids.utf8", ROWS}
    sizes = manifest.bytes_per_item()
    assert sizes["rerank"] == pytest.approx(128, abs=0.1)
    assert 40 < sizes["index"] < 50  # 32 of code, 8 of row number, and the centroids


def test_nothing_else_is_left_behind(ivfpq: Built) -> None:
    assert [path.name for path in ivfpq.collection.iterdir()] == ["index-7"]


def test_the_newest_replaces_the_older(tmp_path: Path) -> None:
    data = clustered(200, 16, 4)
    for seq in (9, 10, 10):
        build_index(tmp_path, source(data.base, seq=seq))
        (tmp_path / ".building-999").mkdir()  # what a killed build leaves
    build_index(tmp_path, source(data.base, seq=11))
    assert [path.name for path in tmp_path.iterdir()] == ["index-11"]
    assert open_index(tmp_path, "cpu").manifest.seq == 11


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("name", [VECTORS, IVFPQ, ROWS, "ids.offsets", "ids.utf8"])
@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damaged_files_are_refused(copy: Path, name: str, damage: Callable[[Path], object]) -> None:
    damage(copy / name)
    with pytest.raises(UnusableIndex, match=f"{name}.*build the index again"):
        open_index(copy.parent, "cpu")


@pytest.mark.parametrize("name", [VECTORS, IVFPQ, ROWS, "ids.offsets"])
def test_without_hashing_another_format_is_still_refused(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(bytes(reversed(data)))
    with pytest.raises(UnusableIndex, match="build the index again"):
        open_index(copy.parent, "cpu", verify=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 1}, "format_version"),
        ({"kind": "hnsw"}, "kind"),
        ({"kind": "flat"}, "contradicts itself"),
        ({"size": "many"}, "size"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"dimension": 65}, "build the index again"),
        ({"size": 29_999}, "build the index again"),
    ],
)
def test_foreign_manifests_are_refused(copy: Path, change: dict[str, object], message: str) -> None:
    manifest = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    (copy / MANIFEST).write_text(json.dumps(manifest | change), encoding="utf-8")
    with pytest.raises(UnusableIndex, match=message):
        open_index(copy.parent, "cpu")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 1}', "\xff"])
def test_torn_manifests_are_refused(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(UnusableIndex, match="build the index again"):
        open_index(copy.parent, "cpu")


def test_another_index_under_this_manifest_is_refused(copy: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other", clustered(400, 64, 4), Kind.IVFPQ)
    shutil.copy(other.loaded.path / IVFPQ, copy / IVFPQ)
    manifest = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][IVFPQ] = other.manifest.files[IVFPQ].model_dump()
    (copy / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UnusableIndex, match="not the index that its manifest describes"):
        open_index(copy.parent, "cpu")


def test_no_index_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableIndex, match="holds no index"):
        open_index(tmp_path)
    with pytest.raises(UnusableIndex, match="not a directory"):
        open_index(tmp_path / "missing")


def test_cuda_is_never_replaced_silently(flat: Built) -> None:
    if gpu_count():
        pytest.skip("this machine has a GPU; see tests/gpu")
    with pytest.raises(DeviceUnavailable, match="sees no GPU"):
        open_index(flat.collection, "cuda")


def test_a_failed_build_leaves_the_old_index(tmp_path: Path) -> None:
    data = clustered(200, 16, 4)
    build_index(tmp_path, source(data.base, seq=1))
    with pytest.raises(ValueError, match="does not fit"):
        build_index(tmp_path, replace(source(data.base, seq=2), rows=np.arange(100)))
    assert open_index(tmp_path, "cpu").manifest.seq == 1


def test_vector_file_is_the_matrix_and_an_index(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float16)
    with VectorFileWriter(tmp_path / "v", 7, 5) as writer:
        writer.append(vectors[:3])
        writer.append(vectors[3:])
    opened = open_vectors(tmp_path / "v", 7, 5)
    np.testing.assert_array_equal(opened.matrix, vectors)
    assert opened.faiss_index.ntotal == 7
    np.testing.assert_array_equal(opened.faiss_index.reconstruct_n(0, 7), vectors.astype(np.float32))


@pytest.mark.parametrize("rows", [6, 8])
def test_vector_file_takes_what_was_announced(tmp_path: Path, rows: int) -> None:
    with (
        pytest.raises(ValueError, match=r"never written|does not fit"),
        VectorFileWriter(tmp_path / "v", 7, 5) as writer,
    ):
        writer.append(np.zeros((rows, 5), dtype=np.float16))


def test_ids_round_trip(tmp_path: Path) -> None:
    ids = ["a", "Größe 38/ß", "裙子", "👗", "x" * 256]
    assert write_ids(tmp_path, ids) == 5
    packed = open_ids(tmp_path, 5)
    assert [packed[row] for row in range(5)] == ids
    for row in (-1, 5):
        with pytest.raises(IndexError):
            packed[row]
    with pytest.raises(UnusableIndex):
        open_ids(tmp_path, 4)
    with pytest.raises(UnusableIndex):
        open_ids(tmp_path, 6)


def test_ids_are_found_by_wide_offsets_as_by_narrow_ones(tmp_path: Path) -> None:
    ids = ["a", "Größe 38/ß", "裙子"]
    write_ids(tmp_path, ids)
    offsets = np.fromfile(tmp_path / "ids.offsets", dtype=np.uint32)
    offsets.astype(np.int64).tofile(tmp_path / "ids.offsets")
    assert [open_ids(tmp_path, 3)[position] for position in range(3)] == ids
    offsets.astype(np.uint16).tofile(tmp_path / "ids.offsets")
    with pytest.raises(UnusableIndex, match="3 ids"):
        open_ids(tmp_path, 3)


@pytest.mark.parametrize(("last", "stored"), [(9, np.uint32), (2**32 - 1, np.uint32), (2**32, np.int64)])
def test_rows_round_trip(tmp_path: Path, last: int, stored: type) -> None:
    rows = np.array([0, 2, 3, last], dtype=np.int64)
    write_rows(tmp_path, rows)
    assert np.load(tmp_path / ROWS).dtype == stored
    found = open_rows(tmp_path, 4)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, rows)
    with pytest.raises(UnusableIndex, match="build the index again"):
        open_rows(tmp_path, 3)


@pytest.mark.parametrize("rows", [[1, 1], [2, 1], [-1, 0]])
def test_rows_must_ascend(tmp_path: Path, rows: list[int]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        write_rows(tmp_path, np.array(rows, dtype=np.int64))
    for stored in (np.int64, np.uint32):
        np.save(tmp_path / ROWS, np.array(rows, dtype=np.int64).astype(stored))
        with pytest.raises(UnusableIndex, match="ascending rows"):
            open_rows(tmp_path, 2)


def test_a_position_has_its_row(ivfpq: Built) -> None:
    np.testing.assert_array_equal(ivfpq.loaded.rows, np.arange(30_000) * 3 + 1)


def test_flat_index_has_no_training(flat: Built) -> None:
    assert flat.manifest.kind == "flat" and flat.manifest.ivfpq is None
    assert flat.manifest.image_recall is flat.manifest.text_recall is None
    assert set(flat.stages) == {"writing"}
    assert IndexOptions().recall_target == flat.manifest.recall_target
