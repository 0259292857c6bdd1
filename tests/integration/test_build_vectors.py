"""Ready vectors: .npy and Parquet, normalised, joined with metadata, the unusable ones listed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsearch.catalogue.state import catalogue_state
from clipsearch.errors import WrongModel
from clipsearch.index.storage import open_index
from clipsearch.offline import Request
from clipsearch.services.exports import export_items

from .build_support import contents, rejects, run, unit, write_lines
from .tiny_build import DIMENSION, silent, tiny_encoders


def test_npy_with_metadata_in_order(tmp_path: Path) -> None:
    vectors = unit(20)
    vectors[3] = np.nan
    vectors[4] = 0
    vectors[5] *= 7
    vectors[6, 0] = np.inf
    np.save(tmp_path / "v.npy", vectors)
    rows: list[dict[str, object]] = [{"id": f"i{i}", "n": i} if i % 2 else {"n": i} for i in range(20)]
    rows[9]["id"] = "i7"
    request = Request(tmp_path / "v.npy", tmp_path / "out", metadata=write_lines(tmp_path / "m.jsonl", rows))
    outcome = run(request)
    assert (outcome.tally.added, outcome.tally.normalised) == (16, 1)
    assert rejects(tmp_path / "out") == {
        "v.npy:3": "VECTOR_NOT_USABLE",
        "v.npy:4": "VECTOR_NOT_USABLE",
        "v.npy:6": "VECTOR_NOT_USABLE",
        "v.npy:9": "ID_DUPLICATE",
    }
    assert contents(tmp_path / "out") == {
        (f"i{i}" if i % 2 else str(i)): {"n": i} for i in range(20) if i not in {3, 4, 6, 9}
    }
    loaded = open_index(tmp_path / "out", "cpu")
    five = [loaded.ids[row] for row in range(16)].index("i5")
    np.testing.assert_allclose(loaded.index.vectors(np.array([five]))[0], vectors[5] / 7, atol=1e-3)
    assert run(request).tally.unchanged == 16
    vectors[8] = vectors[10]
    np.save(tmp_path / "v.npy", vectors)
    assert run(request).tally.updated == 1


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_parquet_columns_become_metadata(tmp_path: Path, fixed: bool, kind: pa.DataType) -> None:
    vectors: list[object] = [row.astype(kind.to_pandas_dtype()) for row in unit(6)]
    vectors[1] = None
    vectors[2] = np.full(DIMENSION, np.nan, kind.to_pandas_dtype())
    if not fixed:
        vectors[3] = np.ones(3, kind.to_pandas_dtype())
    table = pa.table(
        {
            "id": pa.array(["a", "b", "c", "d", None, "f"]),
            "embedding": pa.array(vectors, pa.list_(kind, DIMENSION) if fixed else pa.list_(kind)),
            "price": [1.5, 2.5, None, 4.5, 5.5, 6.5],
            "made": pa.array([0, 1, 2, 3, 4, 5], pa.date32()),
            "tags": [["x"], [], None, ["y"], [], ["z", "ü"]],
        }
    )
    pq.write_table(table, tmp_path / "v.parquet")
    metadata = write_lines(tmp_path / "m.jsonl", [{"id": "f", "price": 9, "title": "more"}, {"id": "z"}])
    outcome = run(Request(tmp_path / "v.parquet", tmp_path / "out", metadata=metadata))
    stored = contents(tmp_path / "out")
    assert stored["a"] == {"price": 1.5, "made": "1970-01-01", "tags": ["x"]}
    assert stored["f"] == {"price": 9, "made": "1970-01-06", "tags": ["z", "ü"], "title": "more"}
    assert set(stored) == ({"a", "d", "f"} if fixed else {"a", "f"})
    wanted = {
        "v.parquet:1": "VECTOR_MISSING",
        "v.parquet:2": "VECTOR_NOT_USABLE",
        "v.parquet:4": "ID_NOT_USABLE",
        "m.jsonl:2": "METADATA_WITHOUT_VECTOR",
    }
    assert rejects(tmp_path / "out") == wanted | ({} if fixed else {"v.parquet:3": "VECTOR_WRONG_DIMENSION"})
    assert outcome.tally.unmatched_metadata == 1


def test_an_exported_collection_is_built_as_it_was(shop: Path, tmp_path: Path) -> None:
    run(Request(shop, tmp_path / "origin"), tiny_encoders())
    export_items(tmp_path / "origin", tmp_path / "e.parquet", silent)
    request = Request(tmp_path / "e.parquet", tmp_path / "copy")
    assert run(request).tally.added == 12
    assert stored(tmp_path / "copy") == stored(tmp_path / "origin")
    assert run(request).tally.unchanged == 12
    assert run(Request(tmp_path / "e.parquet", tmp_path / "origin"), tiny_encoders()).tally.unchanged == 12
    assert run(Request(shop, tmp_path / "origin"), tiny_encoders()).tally.unchanged == 12
    with pytest.raises(WrongModel, match="made by another model"):
        run(Request(tmp_path / "e.parquet", tmp_path / "other"), tiny_encoders("22" * 32))


def test_vectors_that_float16_has_rounded_are_kept_as_they_are(tmp_path: Path) -> None:
    halves = unit(2000).astype(np.float16)
    again = halves / np.linalg.norm(halves.astype(np.float64), axis=1, keepdims=True)
    assert (again.astype(np.float16) != halves).any(), "scaling would round some of them once more"
    np.save(tmp_path / "v.npy", halves.astype(np.float32))
    assert run(Request(tmp_path / "v.npy", tmp_path / "out")).tally.normalised == 0
    assert [blob for *_, blob in stored(tmp_path / "out")] == [half.tobytes() for half in halves]


def stored(collection: Path) -> list[tuple[object, ...]]:
    with catalogue_state(collection, 5) as state:
        return [(i.id, i.metadata, i.uri, i.content_hash, i.embedding) for block in state.blocks for i in block.items]
