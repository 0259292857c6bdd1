"""Sources and options that make no sense are refused with a sentence."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput, UnusableIndex
from clipsearch.index.storage import open_index
from clipsearch.offline import Request

from .build_support import run, unit
from .tiny_build import tiny_encoders


def test_another_model_is_refused(shop: Path, tmp_path: Path) -> None:
    run(Request(shop, tmp_path / "out"), tiny_encoders())
    with pytest.raises(UnusableIndex, match=r"another model .* build into another directory"):
        run(Request(shop, tmp_path / "out"), tiny_encoders("22" * 32))
    assert open_index(tmp_path / "out", "cpu").manifest.size == 12


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), "not floats"),
        (np.zeros((3, 4), np.int64), "not floats"),
        (np.zeros((0, 4), np.float32), "no usable item"),
        (np.zeros((3, 4), np.float32), "no usable item"),
    ],
)
def test_arrays_that_make_no_sense(tmp_path: Path, array: NDArray[np.float32], message: str) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(InvalidInput, match=message):
        run(Request(tmp_path / "v.npy", tmp_path / "out"))


def test_npy_and_metadata_of_different_length(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit(3))
    metadata = tmp_path / "m.csv"
    metadata.write_text("id\na\nb\n")
    with pytest.raises(InvalidInput, match=r"m\.csv has 2 rows, but .*v\.npy has 3"):
        run(Request(tmp_path / "v.npy", tmp_path / "out", metadata=metadata))


def test_parquet_without_the_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), tmp_path / "v.parquet")
    with pytest.raises(InvalidInput, match="no column embedding"):
        run(Request(tmp_path / "v.parquet", tmp_path / "out"))
    pq.write_table(pa.table({"id": ["a"], "embedding": ["x"]}), tmp_path / "v.parquet")
    with pytest.raises(InvalidInput, match="not lists of floats"):
        run(Request(tmp_path / "v.parquet", tmp_path / "out"))


def test_sources_that_cannot_be(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs --bundle"):
        run(Request(shop, tmp_path / "out"))
    with pytest.raises(InvalidInput, match="neither a directory of pictures"):
        run(Request(shop / "bags/00.png", tmp_path / "out"))
    np.save(tmp_path / "v.npy", unit(3, 5))
    with pytest.raises(UnusableIndex, match="dimension 5, the bundle makes 16"):
        run(Request(tmp_path / "v.npy", tmp_path / "out"), tiny_encoders())
