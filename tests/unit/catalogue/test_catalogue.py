"""The catalogue: rows, ids, durability basics, and refusals."""

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsearch.catalogue.items import MAX_METADATA_BYTES, Item, check_id, metadata_json
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.schema import FILE
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import InvalidInput, UnusableIndex, WrongDimension

D = 8
HASH = "ab" * 32


def vector(seed: int) -> NDArray[np.float16]:
    return np.random.default_rng(seed).standard_normal(D).astype(np.float16)


def item(item_id: str, seed: int = 0, **metadata: object) -> Item:
    return Item(item_id, metadata_json(metadata), vector(seed), content_hash=bytes([seed % 256]), uri=f"{item_id}.jpg")


def fill(collection: Path, *items: Item) -> None:
    with CatalogueWriter(collection, D, HASH) as writer:
        writer.put(items)


def test_what_is_put_can_be_read(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1, price=3.5, tags=["x", "ü"]), item("裙子/👗", 2), item("Größe 38", 3))
    with CatalogueReader(tmp_path) as reader:
        assert (reader.dimension, reader.model_hash, reader.seq(), reader.count()) == (D, HASH, 1, 3)
        assert [reader.row_of(item_id) for item_id in ("a", "裙子/👗", "Größe 38", "nobody")] == [0, 1, 2, None]
        assert reader.metadata([1, 0, 0]) == [
            {},
            {"price": 3.5, "tags": ["x", "ü"]},
            {"price": 3.5, "tags": ["x", "ü"]},
        ]
        assert reader.ids([2, 1]) == ["Größe 38", "裙子/👗"]
        assert reader.metadata([]) == []
        with pytest.raises(UnusableIndex, match="has no row 3"):
            reader.metadata([0, 3])


def test_rows_are_dense_and_kept(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1), item("b", 2))
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        writer.put([item("c", 3), item("a", 4, new=True), item("c", 5)])
        assert (writer.count, writer.seq) == (3, 2)
        assert list(writer.ids()) == ["a", "b", "c"]
        stored = np.concatenate(list(writer.embeddings()))
        np.testing.assert_array_equal(stored, [vector(4), vector(2), vector(5)])
        known = writer.known(["c", "a", "z"])
        assert set(known) == {"a", "c"}
        assert (known["a"].row, known["a"].metadata, known["a"].content_hash) == (0, '{"new":true}', bytes([4]))


def test_metadata_can_change_alone(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1))
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        writer.put([Item("a", '{"price":1}', None, bytes([1]))])
        np.testing.assert_array_equal(next(writer.embeddings()), [vector(1)])
        with pytest.raises(ValueError, match="needs an embedding"):
            writer.put([Item("b", "{}", None)])


def test_many_more_rows_than_one_statement_takes(tmp_path: Path) -> None:
    count = 9_001
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        writer.put([item(f"i{i}", i, n=i) for i in range(count)])
        assert len(writer.known([f"i{i}" for i in range(count)])) == count
        blocks = list(writer.embeddings())
        assert len(blocks) > 1 and sum(map(len, blocks)) == count
    rows = np.random.default_rng(0).permutation(count).tolist()
    with CatalogueReader(tmp_path) as reader:
        assert [entry["n"] for entry in reader.metadata(rows)] == rows


def test_a_failed_chunk_leaves_nothing(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        with pytest.raises(InvalidInput):
            writer.put([item("good"), item("")])
        with pytest.raises(WrongDimension):
            writer.put([item("good"), Item("short", "{}", np.zeros(D - 1, dtype=np.float16))])
        with pytest.raises(sqlite3.IntegrityError):
            writer.put([item("good"), Item("listed", "[]", vector(1))])
        assert (writer.count, writer.seq) == (0, 0)


def test_nothing_to_put_is_no_write(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        writer.put([])
        assert writer.seq == 0


@pytest.mark.parametrize("item_id", ["", "x" * 257, "ü" * 129, "a\nb", "a\0", "\x7f", "\x85", "\ud800"])
def test_bad_ids(item_id: str) -> None:
    with pytest.raises(InvalidInput):
        check_id(item_id)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=64))
def test_printable_unicode_is_an_id(item_id: str) -> None:
    check_id(item_id)


def test_bad_metadata() -> None:
    for metadata in ({"x": float("nan")}, {"x": object()}, {"x": "y" * MAX_METADATA_BYTES}, {"x": "\ud800"}):
        with pytest.raises(InvalidInput):
            metadata_json(metadata)


def test_another_model_or_dimension_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, item("a"))
    for dimension, model_hash, message in (
        (D, "cd" * 32, "another model"),
        (D, None, "unknown"),
        (9, HASH, "dimension 8"),
    ):
        with pytest.raises(UnusableIndex, match=message):
            CatalogueWriter(tmp_path, dimension, model_hash)
    with CatalogueWriter(tmp_path, D, HASH) as writer:  # the refusals have let go of the lock
        assert writer.count == 1


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, D, HASH), pytest.raises(UnusableIndex, match="being written by another"):
        CatalogueWriter(tmp_path, D, HASH)


def test_readers_see_commits_while_a_writer_is_open(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        writer.put([item("a")])
        with CatalogueReader(tmp_path) as reader:
            assert (reader.count(), reader.seq()) == (1, 1)
            writer.put([item("b")])
            assert (reader.count(), reader.seq(), reader.row_of("b")) == (2, 2, 1)


def test_readers_work_from_many_threads(tmp_path: Path) -> None:
    fill(tmp_path, *(item(f"i{i}", i, n=i) for i in range(100)))
    with CatalogueReader(tmp_path) as reader, ThreadPoolExecutor(8) as pool:

        def look(seed: int) -> bool:
            rows = np.random.default_rng(seed).integers(0, 100, 10).tolist()
            assert [reader.row_of(f"i{row}") for row in rows] == rows
            return bool([entry["n"] for entry in reader.metadata(rows)] == rows)

        assert all(pool.map(look, range(200)))


def test_damaged_embeddings_are_noticed(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1), item("b", 2))
    data = (tmp_path / FILE).read_bytes()
    blob = vector(2).tobytes()
    assert data.count(blob) == 1
    (tmp_path / FILE).write_bytes(data.replace(blob, bytes([blob[0] ^ 1]) + blob[1:]))
    with CatalogueWriter(tmp_path, D, HASH) as writer, pytest.raises(UnusableIndex, match="row 1"):
        list(writer.embeddings())


@pytest.mark.parametrize("content", [b"", b"not a database, by a long way" * 100])
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UnusableIndex, match=FILE):
        CatalogueReader(tmp_path)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, item("a"))
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(UnusableIndex, match="version 2"):
        CatalogueReader(tmp_path)
    with pytest.raises(UnusableIndex, match="version 2"):
        CatalogueWriter(tmp_path, D, HASH)


def test_a_missing_catalogue_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableIndex, match="clipsearch index build"):
        CatalogueReader(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.writer import CatalogueWriter

writer = CatalogueWriter(Path(sys.argv[1]), 8, None)
for chunk in range(5):
    writer.put([Item(f"{chunk}-{i}", "{}", np.full(8, chunk, np.float16)) for i in range(100)])
    print(chunk, flush=True)
writer._connection.execute("BEGIN IMMEDIATE")
writer._connection.execute("DELETE FROM items WHERE row > 10")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_commits_survive_a_kill_and_the_rest_does_not(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL and killed.stdout.split() == list("01234")
    with CatalogueWriter(tmp_path, D, None) as writer:  # the lock died with its holder
        assert (writer.count, writer.seq) == (500, 5)
        assert sum(map(len, writer.embeddings())) == 500


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_can_be_read(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1))
    tmp_path.chmod(0o500)
    with CatalogueReader(tmp_path) as reader:
        assert reader.row_of("a") == 0
    tmp_path.chmod(0o700)
