"""Looking up, listing and replaying, while a writer may be at work."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clipsearch.catalogue.mutations import Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader, Counts
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import EmbeddingDamaged, UnusableIndex

from .support import HASH, D, apply_one, fill, flip_embedding, item, row_of, vector


def test_what_is_put_can_be_read(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1, price=3.5, tags=["x", "ü"]), item("裙子/👗", 2), item("Größe 38", 3))
    with CatalogueReader(tmp_path) as reader:
        assert (reader.dimension, reader.model_hash, reader.seq(), reader.counts()) == (D, HASH, 1, Counts(3, 0))
        assert [row_of(reader, item_id) for item_id in ("a", "裙子/👗", "Größe 38", "nobody")] == [0, 1, 2, None]
        assert reader.metadata([1, 0, 0]) == [
            {},
            {"price": 3.5, "tags": ["x", "ü"]},
            {"price": 3.5, "tags": ["x", "ü"]},
        ]
        assert reader.ids([2, 1]) == ["Größe 38", "裙子/👗"]
        assert reader.metadata([]) == []
        with pytest.raises(UnusableIndex, match="has no row 3"):
            reader.metadata([0, 3])


def test_get_gives_the_live_version(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1), item("b", 2))
    with CatalogueWriter(tmp_path, D, HASH) as writer, CatalogueReader(tmp_path) as reader:
        apply_one(writer, Upsert([item("a", 3, n=1)]))
        found = reader.get("a", with_embedding=True)
        assert found is not None and found.embedding is not None
        assert (found.row, found.id, found.metadata, found.uri, found.seq) == (2, "a", {"n": 1}, "a.jpg", 2)
        assert found.content_hash == bytes([3])
        np.testing.assert_array_equal(found.embedding, vector(3))
        apply_one(writer, Delete(["b"]))
        plain = reader.get("a")
        assert plain is not None and plain.embedding is None
        assert reader.get("b") is None and reader.get("nobody") is None


def test_readers_see_commits_while_a_writer_is_open(writer: CatalogueWriter, tmp_path: Path) -> None:
    apply_one(writer, Upsert([item("a")]))
    with CatalogueReader(tmp_path) as reader:
        assert (reader.counts(), reader.seq()) == (Counts(1, 0), 1)
        apply_one(writer, Upsert([item("b")]))
        assert (reader.counts(), reader.seq(), row_of(reader, "b")) == (Counts(2, 0), 2, 1)


def test_pages_meet_every_lasting_item_once_while_the_catalogue_changes(tmp_path: Path) -> None:
    fill(tmp_path, *(item(f"i{n:02}", n) for n in range(30)))
    seen: list[str] = []
    with CatalogueWriter(tmp_path, D, HASH) as writer, CatalogueReader(tmp_path) as reader:
        after, turn = None, 0
        while True:
            page = reader.list_page(after, 4)
            assert len(page.items) <= 4
            seen += [found.id for found in page.items]
            turn += 1
            apply_one(writer, Upsert([item(f"i{n:02}", 100 * turn + n) for n in range(30) if n % 3]))
            apply_one(writer, Delete([seen[-1], "i28"]))  # where the next page begins, and one that is still to come
            apply_one(writer, Upsert([item("a-before-all", turn)]))
            if page.next_after is None:
                break
            after = page.next_after
    assert seen == sorted(seen) == [f"i{n:02}" for n in range(30) if n != 28]


def test_pages_are_in_the_order_of_bytes_and_know_their_end(tmp_path: Path) -> None:
    ids = ["Z", "a", "é", "z", "👗", "裙"]
    fill(tmp_path, *(item(item_id) for item_id in ids))
    with CatalogueReader(tmp_path) as reader:
        page = reader.list_page(None, 6)
        assert [found.id for found in page.items] == sorted(ids, key=str.encode)
        assert page.next_after is None
        assert reader.list_page("z", 1).next_after == "é"
        assert reader.list_page("👗", 5).items == []


def test_live_rows_and_the_tail_after_a_snapshot(writer: CatalogueWriter, tmp_path: Path) -> None:
    apply_one(writer, Upsert([item(item_id, 1) for item_id in "abcd"]))
    apply_one(writer, Delete(["b"]))
    with CatalogueReader(tmp_path) as reader:
        snapshot = reader.live_rows()
        assert (snapshot.seq, snapshot.rows.tolist(), snapshot.rows.dtype) == (2, [0, 2, 3], np.int64)
        apply_one(writer, Upsert([item("a", 2), item("e", 2), item("f", 2)]))
        apply_one(writer, Delete(["f", "c"]))
        assert reader.rows_since(4).tolist() == [4, 5]
        assert reader.removed_since(snapshot.seq).tolist() == [0, 2, 6]
        assert reader.removed_since(reader.seq()).tolist() == reader.rows_since(7).tolist() == []
        replayed = set(snapshot.rows.tolist()) - set(reader.removed_since(2).tolist()) | set(
            reader.rows_since(4).tolist()
        )
        assert sorted(replayed) == reader.live_rows().rows.tolist() == [3, 4, 5]


def test_a_filter_also_finds_what_died_since(writer: CatalogueWriter, tmp_path: Path) -> None:
    apply_one(writer, Upsert([item(f"i{n}", n, price=n, brand="x" if n % 2 else "y") for n in range(10)]))
    condition = "json_extract(metadata, '$.brand') = ? AND json_extract(metadata, '$.price') >= ?"
    with CatalogueReader(tmp_path) as reader:
        before = reader.matching(condition, ["x", 4])
        assert (before.tolist(), before.dtype) == ([5, 7, 9], np.int64)
        apply_one(writer, Delete(["i7"]))
        apply_one(writer, Upsert([item("i9", 9, price=100, brand="x"), item("i0", 0, price=0, brand="x")]))
        assert reader.matching(condition, ["x", 4]).tolist() == [5, 7, 9, 10]
        assert reader.matching(condition, ["x", 4], first_row=10).tolist() == [10]
        assert reader.matching(condition, ["x", 4], first_row=6, end_row=10).tolist() == [7, 9]
        assert reader.matching("0 OR 0", []).tolist() == []


def test_damaged_embeddings_are_reported_and_never_served(tmp_path: Path) -> None:
    fill(tmp_path, *(item(item_id, n) for n, item_id in enumerate("abcd")))
    flip_embedding(tmp_path, row=1)
    flip_embedding(tmp_path, row=2)
    with CatalogueReader(tmp_path) as reader:
        found = reader.embeddings(np.arange(4))
        assert (found.rows.tolist(), found.damaged.tolist()) == ([0, 3], [1, 2])
        np.testing.assert_array_equal(found.vectors, [vector(0), vector(3)])
        with pytest.raises(EmbeddingDamaged, match="'b'"):
            reader.get("b", with_embedding=True)
        assert reader.get("b") is not None
        nothing = reader.embeddings(np.array([1]))
        assert nothing.vectors.shape == (0, D)


def test_readers_work_from_many_threads(tmp_path: Path) -> None:
    fill(tmp_path, *(item(f"i{i}", i, n=i) for i in range(100)))
    with CatalogueReader(tmp_path) as reader, ThreadPoolExecutor(8) as pool:

        def look(seed: int) -> bool:
            rows = np.random.default_rng(seed).integers(0, 100, 10).tolist()
            assert [row_of(reader, f"i{row}") for row in rows] == rows
            assert reader.matching("json_extract(metadata, '$.n') < ?", [rows[0]]).tolist() == list(range(rows[0]))
            return bool([entry["n"] for entry in reader.metadata(rows)] == rows)

        assert all(pool.map(look, range(200)))


def test_the_writer_may_change_threads(writer: CatalogueWriter) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(apply_one, writer, Upsert([item("a")])).result().seq == 1
    assert apply_one(writer, Upsert([item("b")])).seq == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_can_be_read(tmp_path: Path) -> None:
    fill(tmp_path, item("a", 1))
    tmp_path.chmod(0o500)
    with CatalogueReader(tmp_path) as reader:
        assert row_of(reader, "a") == 0
    tmp_path.chmod(0o700)
