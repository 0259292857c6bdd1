"""A collection whose disk, memory or callers misbehave: flips, a write not published, a deletion meanwhile."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Change, Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import CollectionOptions
from clipsearch.data import DataDirectory
from clipsearch.errors import Cancelled, CollectionNotFound, InvalidInput
from clipsearch.index.live import LiveIndex
from clipsearch.index.rules import Training
from clipsearch.index.storage import find_snapshots
from clipsearch.index.tuning import Report
from clipsearch.services.build_index import IndexOptions, derive_index
from clipsearch.services.build_report import RejectLog, Tally
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.searcher import Neighbours, Probe, Searcher

NAMES = "abcdef"
AXES = np.eye(8, dtype=np.float32)


def derive(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
    with RejectLog(directory, Tally()) as rejects:
        options = IndexOptions(threads=1, training=training)
        derive_index(directory, reader, queries=None, options=options, report=report, rejects=rejects)


def opened(root: Path) -> DataDirectory:
    options = CollectionOptions(8, "ab" * 32, derive, device="cpu", threads=1, rebuild_by_itself=False)
    return DataDirectory(root, options)


def item(name: str, axis: int) -> Item:
    return Item(name, f'{{"axis":{axis}}}', AXES[axis].astype(np.float16))


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Iterator[DataDirectory]:
    """Items a to f along the axes."""
    data = opened(tmp_path)
    data.collection("").write([Upsert([item(name, n) for n, name in enumerate(NAMES)])])
    yield data
    data.close()


def flip(root: Path, name: str) -> None:
    """Change an embedding behind the catalogue's back."""
    with closing(sqlite3.connect(root / "default" / "catalogue.sqlite")) as connection, connection:
        flipped = AXES[7].astype("<f2").tobytes()
        connection.execute("UPDATE items SET embedding = ? WHERE id = ?", (flipped, name))


def found(data: DataDirectory, axis: int, **probe: object) -> list[str]:
    (near,) = Searcher(data, RecallMonitor(0.0)).search(AXES[axis][None], [Probe(8, **probe)])  # type: ignore[arg-type]
    assert isinstance(near, Neighbours), near
    return near.ids


@pytest.mark.parametrize("name", ["b", "f"])
def test_a_flipped_embedding_leaves_with_the_next_rebuild_and_is_counted(
    data: DataDirectory, tmp_path: Path, name: str
) -> None:
    collection = data.collection("")
    collection.rebuild()
    flip(tmp_path, name)
    assert found(data, NAMES.index(name))[0] == name, "the index has the sound copy"
    collection.write([Upsert([item("g", 6)])])
    assert collection.rebuild().size == 6
    assert (name in found(data, 0), collection.stats().damaged) == (False, 1)
    data.close()
    for lost in (False, True):
        if lost:
            (find_snapshots(tmp_path / "default")[0] / "manifest.json").write_text("{")
        again = opened(tmp_path)
        assert (name in found(again, 0), again.collection("").stats().damaged) == (False, 1)
        again.close()
    again = opened(tmp_path)
    (cured,) = again.collection("").write([Upsert([item(name, NAMES.index(name))])])
    assert isinstance(cured, Applied) and cured.outcomes == (Change.UPDATED,)
    assert (found(again, NAMES.index(name))[0], again.collection("").stats().damaged) == (name, 0)
    again.close()


def test_a_write_that_was_not_published_is_read_back(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, failing = LiveIndex.apply, [True]

    def fail_once(self: LiveIndex, *arguments: object) -> None:
        if failing.pop() if failing else False:
            raise MemoryError("no room for the delta")
        apply(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveIndex, "apply", fail_once)
    (answer,) = data.collection("").write([Upsert([item("g", 6)])])
    assert isinstance(answer, Applied) and answer.outcomes == (Change.CREATED,)
    assert found(data, 6)[0] == "g"


def test_filters_and_exclusions_hold_for_items_updated_meanwhile(data: DataDirectory) -> None:
    condition = compile_filter("axis < 3")
    collection = data.collection("")
    collection.allowed(condition, collection.view)
    collection.write([Upsert([Item("a", '{"axis":0,"new":1}', None)])])
    assert found(data, 0, condition=condition) == ["a", "b", "c"]
    assert "a" not in found(data, 0, excluded=frozenset({"a"}))


def test_a_collection_deleted_meanwhile_is_not_found(data: DataDirectory) -> None:
    data.create("doomed")
    collection = data.collection("doomed")
    collection.write([Upsert([item("a", 0)])])
    collection.rebuild()
    collection.write([Delete(["a"]), Upsert([item("a", 1)])])
    data.delete("doomed")
    (answer,) = collection.write([Upsert([item("b", 1)])])
    assert isinstance(answer, CollectionNotFound)
    for call in (lambda: collection.metadata(np.array([0])), collection.stats, collection.rebuild):
        with pytest.raises(CollectionNotFound):
            call()


def test_a_rebuild_ends_at_its_next_step_and_of_nothing_is_refused(data: DataDirectory) -> None:
    collection = data.collection("")

    def stop(stage: str, done: int, total: int) -> None:
        collection.stop_rebuilding()

    with pytest.raises(Cancelled):
        collection.rebuild(stop)
    assert sorted(found(data, 0)) == list(NAMES)
    collection.write([Delete(list(NAMES))])
    with pytest.raises(InvalidInput, match="nothing to index"):
        collection.rebuild()
    assert found(data, 0) == []


def test_an_index_of_a_later_history_is_thrown_away(data: DataDirectory, tmp_path: Path) -> None:
    collection = data.collection("")
    before = tmp_path / "default" / "catalogue.sqlite"
    collection.close()
    saved = before.read_bytes()
    data.close()
    again = opened(tmp_path)
    again.collection("").write([Upsert([item("later", 7)])])
    again.collection("").rebuild()
    again.close()
    before.write_bytes(saved)  # a backup, restored beside the newer index
    restored = opened(tmp_path)
    assert restored.collection("").stats().index is None
    assert find_snapshots(tmp_path / "default") == []
    assert sorted(found(restored, 0)) == list(NAMES)
    restored.close()


def test_a_manifest_that_names_another_number_than_its_directory_is_refused(
    data: DataDirectory, tmp_path: Path
) -> None:
    collection = data.collection("")
    collection.rebuild()
    collection.write([Delete(["a"])])
    data.close()
    manifest = find_snapshots(tmp_path / "default")[0] / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seq": 1,', '"seq": 2,'))
    again = opened(tmp_path)
    assert again.collection("").stats().index is None
    assert "a" not in found(again, 0), "its tombstone would have been passed over"
    again.close()
