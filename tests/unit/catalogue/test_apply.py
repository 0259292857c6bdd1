"""What a mutation does: rows, outcomes of single items, sequence numbers, and what the memory is told."""

from pathlib import Path

import numpy as np
import pytest

from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Change, Delete, Mutation, Upsert
from clipsearch.catalogue.reader import CatalogueReader, Counts
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import UnusableIndex

from .support import HASH, D, apply_one, fill, flip_embedding, item, reasons, row_of, vector


def test_new_items_get_the_next_rows_and_the_memory_is_told(writer: CatalogueWriter) -> None:
    applied = apply_one(writer, Upsert([item("a", 1), item("b", 2)]))
    assert (applied.seq, writer.seq, reasons(applied), applied.ids) == (1, 1, ["CREATED"] * 2, ("a", "b"))
    np.testing.assert_array_equal(applied.rows, [0, 1])
    np.testing.assert_array_equal(applied.embeddings, [vector(1), vector(2)])
    assert (applied.embeddings.dtype, applied.rows.dtype, applied.removed.dtype) == (np.float16, np.int64, np.int64)
    assert len(applied.removed) == 0 and not applied.repeated


def test_an_update_is_a_new_row_and_a_tombstone(writer: CatalogueWriter, tmp_path: Path) -> None:
    apply_one(writer, Upsert([item("a", 1), item("b", 2)]))
    applied = apply_one(writer, Upsert([item("c", 3), item("a", 4, new=True)]))
    assert (reasons(applied), applied.rows.tolist(), applied.removed.tolist()) == (["CREATED", "UPDATED"], [2, 3], [0])
    with CatalogueReader(tmp_path) as reader:
        assert (row_of(reader, "a"), reader.counts()) == (3, Counts(live=3, tombstones=1))
        assert reader.metadata([0, 3]) == [{}, {"new": True}]  # the dead row is as it was
        np.testing.assert_array_equal(reader.embeddings(np.array([0])).vectors, [vector(1)])


@pytest.mark.parametrize("repeated", ["same", "without embedding", "other order of metadata"])
def test_what_is_the_same_is_no_write(writer: CatalogueWriter, repeated: str) -> None:
    first = Item("a", '{"x":1,"y":2}', vector(1), b"hash", "a.jpg")
    apply_one(writer, Upsert([first]))
    again = {
        "same": first,
        "without embedding": Item("a", '{"x":1,"y":2}', None, b"hash", "a.jpg"),
        "other order of metadata": Item("a", '{ "y": 2, "x": 1 }', vector(9), b"hash", "a.jpg"),
    }[repeated]
    applied = apply_one(writer, Upsert([again]))
    assert (reasons(applied), applied.seq, writer.seq) == (["UNCHANGED"], 1, 1)
    assert len(applied.rows) == len(applied.removed) == 0


@pytest.mark.parametrize(
    "changed",
    [
        Item("a", '{"x":2}', vector(1), b"hash", "a.jpg"),
        Item("a", '{"x":true}', vector(1), b"hash", "a.jpg"),
        Item("a", '{"x":1}', vector(1), b"hash", "b.jpg"),
        Item("a", '{"x":1}', vector(1), b"hash", None),
        Item("a", '{"x":1}', vector(1), b"other", "a.jpg"),
        Item("a", '{"x":1}', vector(1), None, "a.jpg"),
    ],
)
def test_any_difference_is_an_update(writer: CatalogueWriter, changed: Item) -> None:
    apply_one(writer, Upsert([Item("a", '{"x":1}', vector(1), b"hash", "a.jpg")]))
    assert reasons(apply_one(writer, Upsert([changed]))) == ["UPDATED"]


def test_without_a_content_hash_the_embedding_tells(writer: CatalogueWriter) -> None:
    apply_one(writer, Upsert([Item("a", "{}", vector(1))]))
    assert reasons(apply_one(writer, Upsert([Item("a", "{}", vector(1))]))) == ["UNCHANGED"]
    assert reasons(apply_one(writer, Upsert([Item("a", "{}", vector(2))]))) == ["UPDATED"]


def test_metadata_can_change_alone(writer: CatalogueWriter) -> None:
    apply_one(writer, Upsert([Item("a", "{}", vector(1), b"hash")]))
    applied = apply_one(writer, Upsert([Item("a", '{"price":1}', None), Item("b", "{}", None)]))
    assert reasons(applied) == ["UPDATED", "INPUT_MISSING"]
    np.testing.assert_array_equal(applied.embeddings, [vector(1)])
    assert writer.known(["a"])["a"].content_hash == b"hash"


def test_one_bad_item_does_not_fail_its_neighbours(writer: CatalogueWriter) -> None:
    bad = [Item("a", "{}", vector(9)), Item("\n", "{}", vector(1)), Item("short", "{}", np.ones(3, dtype=np.float16))]
    applied = apply_one(writer, Upsert([item("a"), *bad, Item("listed", "[]", vector(1)), item("b")]))
    assert reasons(applied) == [
        "CREATED",
        "ID_DUPLICATE",
        "ID_NOT_USABLE",
        "VECTOR_WRONG_DIMENSION",
        "METADATA_NOT_USABLE",
        "CREATED",
    ]
    assert applied.rows.tolist() == [0, 1]


def test_deletes_say_what_was_not_there(writer: CatalogueWriter, tmp_path: Path) -> None:
    apply_one(writer, Upsert([item("a"), item("b"), item("c")]))
    applied = apply_one(writer, Delete(["c", "nobody", "a", "c", "\ud800"]))
    assert reasons(applied) == ["DELETED", "NOT_FOUND", "DELETED", "NOT_FOUND", "ID_NOT_USABLE"]
    assert (applied.seq, applied.removed.tolist(), len(applied.rows)) == (2, [2, 0], 0)
    again = apply_one(writer, Delete(["c"]))
    assert (reasons(again), again.seq, len(again.removed)) == (["NOT_FOUND"], 2, 0)
    with CatalogueReader(tmp_path) as reader:
        assert [row_of(reader, item_id) for item_id in "abc"] == [None, 1, None]


def test_rows_are_never_used_again(writer: CatalogueWriter) -> None:
    apply_one(writer, Upsert([item("a"), item("b")]))
    apply_one(writer, Delete(["a", "b"]))
    assert apply_one(writer, Upsert([item("a")])).rows.tolist() == [2]


def test_a_group_is_as_if_one_came_after_the_other(writer: CatalogueWriter) -> None:
    group: list[Mutation] = [
        Upsert([item("a", 1), item("b", 2)]),
        Upsert([item("a", 1), item("b", 3)]),
        Delete(["a"]),
        Delete(["a"]),
        Upsert([item("a", 4)]),
        Upsert([]),
    ]
    applied = [one for one in writer.apply(group) if isinstance(one, Applied)]
    assert [one.seq for one in applied] == [1, 2, 3, 3, 4, 4]
    assert [reasons(one) for one in applied] == [
        ["CREATED", "CREATED"],
        ["UNCHANGED", "UPDATED"],
        ["DELETED"],
        ["NOT_FOUND"],
        ["CREATED"],
        [],
    ]
    assert [(one.rows.tolist(), one.removed.tolist()) for one in applied] == [
        ([0, 1], []),
        ([2], [1]),
        ([], [0]),
        ([], []),
        ([3], []),
        ([], []),
    ]
    assert writer.seq == 4


def test_a_group_that_changes_nothing_writes_nothing(writer: CatalogueWriter, tmp_path: Path) -> None:
    apply_one(writer, Upsert([item("a")]))
    log = tmp_path / "catalogue.sqlite-wal"
    before = log.read_bytes()
    writer.apply([])
    writer.apply([Upsert([item("a")]), Delete(["nobody"]), Upsert([item("")])])
    assert log.read_bytes() == before


def test_many_more_items_than_one_statement_takes(tmp_path: Path) -> None:
    count = 5_001
    fill(tmp_path, *(item(f"i{i}", i, n=i) for i in range(count)))
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        assert len(writer.known([f"i{i}" for i in range(count)])) == count
        applied = apply_one(writer, Delete([f"i{i}" for i in range(0, count, 2)]))
        assert applied.outcomes == (Change.DELETED,) * 2501
    rows = np.random.default_rng(0).permutation(count).tolist()
    with CatalogueReader(tmp_path) as reader:
        assert [entry["n"] for entry in reader.metadata(rows)] == rows
        assert reader.live_rows().rows.tolist() == list(range(1, count, 2))


def test_a_damaged_embedding_is_not_passed_over(writer: CatalogueWriter, tmp_path: Path) -> None:
    apply_one(writer, Upsert([item("a", 1), item("b", 2)]))
    flip_embedding(tmp_path, row=0)
    kept = apply_one(writer, Upsert([Item("a", '{"n":1}', None), Item("b", '{"n":1}', None)]))
    assert reasons(kept) == ["EMBEDDING_DAMAGED", "UPDATED"]
    cured = apply_one(writer, Upsert([item("a", 1)]))
    assert (reasons(cured), cured.removed.tolist()) == (["UPDATED"], [0])


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
        assert writer.seq == 1


def test_one_writer_at_a_time(writer: CatalogueWriter, tmp_path: Path) -> None:
    with pytest.raises(UnusableIndex, match="being written by another"):
        CatalogueWriter(tmp_path, D, HASH)
    assert reasons(apply_one(writer, Upsert([item("a")]))) == ["CREATED"]
