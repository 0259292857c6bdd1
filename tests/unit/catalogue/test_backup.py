"""Copies made while others write, and the check of a whole catalogue."""

import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipsearch.catalogue.backup import Backup, backup
from clipsearch.catalogue.mutations import Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.schema import FILE
from clipsearch.catalogue.verify import DerivedIndex, verify_catalogue
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import InvalidInput, UnusableIndex

from .support import HASH, D, apply_one, fill, flip_embedding, item


def test_a_backup_taken_while_others_write_is_one_state_of_the_catalogue(tmp_path: Path) -> None:
    """Every mutation replaces ten items by ten, so a copy of half of one would show."""
    origin = tmp_path / "origin"
    fill(origin, *(item(f"i{n}", n) for n in range(10)))
    stop = threading.Event()

    def write() -> None:
        with CatalogueWriter(origin, D, HASH) as writer:
            seed = 10
            while not stop.is_set():
                apply_one(writer, Upsert([item(f"i{n}", seed + n, turn=seed) for n in range(10)]))
                seed += 10

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copies = [backup(origin, tmp_path / f"copy{n}") for n in range(10)]
    finally:
        stop.set()
        thread.join()
    numbers = [copy.seq for copy in copies]
    assert numbers == sorted(numbers)
    assert {copy.items for copy in copies} == {10}
    for n, seq in enumerate(numbers):
        copy = tmp_path / f"copy{n}"
        assert [path.name for path in copy.iterdir()] == [FILE]
        assert verify_catalogue(copy).ok
        with CatalogueReader(copy) as reader:
            live = reader.live_rows()
            assert (live.seq, len(live.rows)) == (seq, 10)
            assert len({metadata.get("turn") for metadata in reader.metadata(live.rows.tolist())}) == 1


def test_a_restored_backup_is_a_catalogue_like_any_other(tmp_path: Path) -> None:
    fill(tmp_path / "origin", item("a", 1))
    assert backup(tmp_path / "origin", tmp_path / "copy") == Backup(seq=1, items=1)
    with CatalogueWriter(tmp_path / "copy", D, HASH) as writer:
        assert apply_one(writer, Upsert([item("b", 2)])).rows.tolist() == [1]


def test_backups_that_cannot_be(tmp_path: Path) -> None:
    fill(tmp_path / "origin", item("a", 1))
    backup(tmp_path / "origin", tmp_path / "copy")
    with pytest.raises(InvalidInput, match="another directory"):
        backup(tmp_path / "origin", tmp_path / "copy")
    with pytest.raises(UnusableIndex, match="is missing"):
        backup(tmp_path / "nowhere", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Rows 0 to 3 of a to d; b deleted at 2, a updated to row 4 at 3."""
    fill(tmp_path, *(item(item_id, n) for n, item_id in enumerate("abcd")))
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        apply_one(writer, Delete(["b"]))
        apply_one(writer, Upsert([item("a", 9)]))
    return tmp_path


def index(seq: int, rows: list[int], ids: str) -> DerivedIndex:
    return DerivedIndex(seq, np.array(rows, dtype=np.int64), list(ids))


@pytest.mark.parametrize(
    "agreeing", [index(3, [2, 3, 4], "cda"), index(2, [0, 2, 3], "acd"), index(1, [0, 1, 2, 3], "abcd"), None]
)
def test_a_whole_catalogue_and_an_index_of_any_age_agree(collection: Path, agreeing: DerivedIndex | None) -> None:
    found = verify_catalogue(collection, agreeing)
    assert found.ok and (found.live, found.tombstones) == (3, 2)


@pytest.mark.parametrize(
    ("differing", "problem"),
    [
        (index(3, [0, 2, 3, 4], "acda"), "holds row 0 .'a'., which did not live"),
        (index(3, [2, 3], "cd"), "lacks row 4 .'a'."),
        (index(3, [2, 3, 4], "cxa"), "calls row 3 'x', the catalogue 'd'"),
        (index(4, [2, 3, 4], "cda"), "belongs to another one"),
        (index(3, [2, 3, 4, 5], "cdaz"), "holds row 5, which the catalogue has not"),
    ],
)
def test_an_index_that_differs_is_told(collection: Path, differing: DerivedIndex, problem: str) -> None:
    (found,) = verify_catalogue(collection, differing).problems
    assert re.search(problem, found)


def test_an_index_out_of_order_is_told(collection: Path) -> None:
    assert "not ascending" in verify_catalogue(collection, index(3, [3, 2, 4], "dca")).problems[0]


def test_damaged_embeddings_are_named_and_missing_from_an_index_rightly(collection: Path) -> None:
    flip_embedding(collection, row=3)
    found = verify_catalogue(collection, index(3, [2, 4], "ca"))
    assert (found.ok, found.damaged, found.problems) == (False, ("d",), ())


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE meta SET value = 4 WHERE key = 'next_row'", "row 4 .* newer"),
        ("UPDATE meta SET value = 2 WHERE key = 'seq'", "sequence number 3 is newer"),
    ],
)
def test_numbers_that_contradict_each_other_are_told(collection: Path, statement: str, problem: str) -> None:
    with closing(sqlite3.connect(collection / FILE)) as connection, connection:
        connection.execute(statement)
    assert re.search(problem, verify_catalogue(collection).problems[-1])


def test_a_broken_structure_is_told(collection: Path) -> None:
    with closing(sqlite3.connect(collection / FILE)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'live'").fetchone()
    data = bytearray((collection / FILE).read_bytes())
    data[page * 4096 - 4] ^= 1  # in the first cell of the index over live ids
    (collection / FILE).write_bytes(data)
    found = verify_catalogue(collection)
    assert not found.ok and found.problems[0].startswith("structure: ")
