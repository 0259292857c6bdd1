"""Files that are not what they should be are refused with a sentence."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clipsearch.catalogue.mutations import Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.schema import FILE, connect_writer
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import StorageFailed, UnusableIndex

from .support import HASH, D, apply_one, fill, item


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def tear_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


DAMAGE = {
    "foreign": lambda path: path.write_bytes(b"not a database, by a long way" * 100),
    "truncated": truncate,
    "header only": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "torn": tear_the_middle,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize(
    "opened", [CatalogueReader, lambda path: CatalogueWriter(path, D, HASH)], ids=["read", "write"]
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[Path], object], opened: object) -> None:
    fill(tmp_path, *(item(f"i{n}", n, text="x" * 500) for n in range(200)))
    damage(tmp_path / FILE)
    with pytest.raises(UnusableIndex, match=f"{FILE} is not a catalogue that can be read .* restore a backup"):
        opened(tmp_path)  # type: ignore[operator]


def test_an_empty_file_was_never_finished(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(UnusableIndex, match=FILE):
        CatalogueReader(tmp_path)
    connect_writer(tmp_path / FILE).close()  # killed between making the tables and noting the model
    with pytest.raises(UnusableIndex, match="never finished"):
        CatalogueReader(tmp_path)
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        assert writer.seq == 0


def identity(directory: Path) -> str:
    with CatalogueReader(directory) as reader:
        return reader.identity


def test_an_identity_is_made_once_and_belongs_to_one_collection(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(tmp_path / name, item("i0", 0))
    first, other = identity(tmp_path / "a"), identity(tmp_path / "b")
    assert len(first) == 32 and first != other
    fill(tmp_path / "a", item("i1", 1))
    assert identity(tmp_path / "a") == first
    with closing(sqlite3.connect(tmp_path / "a" / FILE)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE key = 'identity'")  # as an earlier release wrote it
    assert identity(tmp_path / "a") == ""
    CatalogueWriter(tmp_path / "a", D, HASH).close()
    assert len(identity(tmp_path / "a")) == 32


@pytest.mark.parametrize("version", [1, 3])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    fill(tmp_path, item("a"))
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    message = rf"format version {version}.*reads version 2 only; move it away and make it anew"
    with pytest.raises(UnusableIndex, match=message):
        CatalogueReader(tmp_path)
    with pytest.raises(UnusableIndex, match=message):
        CatalogueWriter(tmp_path, D, HASH)


def test_a_file_that_cannot_be_had_now_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StorageFailed, match="unable to open"):
        CatalogueWriter(tmp_path, D, HASH)


def test_a_missing_catalogue_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableIndex, match="clipsearch index build"):
        CatalogueReader(tmp_path)


def test_no_statement_walks_over_the_table(tmp_path: Path) -> None:
    """Every statement that the writer and the reader run is asked how it will be run; a filter may walk, no other."""
    statements: list[str] = []
    fill(tmp_path, *(item(f"i{n}", n) for n in range(50)))
    with CatalogueWriter(tmp_path, D, HASH) as writer, CatalogueReader(tmp_path) as reader:
        for connection in (writer._connection, reader._keyed._connection, reader._walks._connection):
            connection.set_trace_callback(statements.append)
        apply_one(writer, Upsert([item("i1", 7), item("new")], "r"))
        apply_one(writer, Delete(["i2"], "s"))
        reader.get("i1")
        reader.list_page("i2", 5)
        reader.embeddings(reader.live_rows().rows)
        reader.ids(reader.rows_since(50).tolist())
        reader.removed_since(1)
        reader.counts()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        asked = 0
        for statement in statements:
            if not statement.startswith(("SELECT", "UPDATE", "DELETE")):
                continue
            asked += 1
            plan = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            walks = [step for step in plan if step.startswith("SCAN items") and "COVERING INDEX" not in step]
            slow = [step for step in plan if "INDEX deaths (deleted_seq=?)" in step and "COVERING" not in step]
            assert not walks and not slow and "TEMP B-TREE" not in " ".join(plan), (statement, plan)
    assert asked > 15


def test_filters_read_no_embeddings_once_a_writer_has_opened_the_file(tmp_path: Path) -> None:
    """Also in a file that was written before there was an index of the metadata; until then it is read as it is."""
    fill(tmp_path, *(item(f"i{n}", n, price=n) for n in range(50)))
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("DROP INDEX scan")
    condition, cheap = "json_extract(metadata, '$.price') < ?", list(range(9))
    with CatalogueReader(tmp_path) as reader:
        assert reader.matching(condition, [9]).tolist() == cheap
    CatalogueWriter(tmp_path, D, HASH).close()
    statements: list[str] = []
    with CatalogueReader(tmp_path) as reader:
        reader._walks._connection.set_trace_callback(statements.append)
        assert reader.matching(condition, [9]).tolist() == cheap
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        plan = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert plan == ["SEARCH items USING COVERING INDEX scan (row>? AND row<?)"]
