"""Searching on a lane's worker: groups, trimming, rows, and an encoder batch of which only some ask."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import CollectionOptions
from clipsearch.cuda import HandedVectors
from clipsearch.data import DataDirectory
from clipsearch.errors import CollectionNotFound, ComputeFailed
from clipsearch.index.rules import Training
from clipsearch.index.tuning import Report
from clipsearch.index.view import View
from clipsearch.ports import Vectors
from clipsearch.services.embed import Encode, Encoded, encode_batch
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.searcher import Found, Lookup, Neighbours, Probe, Searcher

ITEMS = np.eye(4, dtype=np.float32)
UNWATCHED = RecallMonitor(0.0)


def underived(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
    raise AssertionError("these tests build no index")


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Iterator[DataDirectory]:
    """Rows 0 to 3 along the axes, called a to d; and an empty collection beside them."""
    options = CollectionOptions(4, "ab" * 32, underived, device="cpu", threads=1, rebuild_by_itself=False)
    data = DataDirectory(tmp_path, options)
    data.create("empty")
    items = [Item(name, f'{{"n": {n}}}', ITEMS[n].astype(np.float16)) for n, name in enumerate("abcd")]
    data.collection("").write([Upsert(items)])
    yield data
    data.close()


def near(found: Found) -> Neighbours:
    assert isinstance(found, Neighbours), found
    return found


def test_each_probe_gets_what_it_asked_for(data: DataDirectory) -> None:
    probes = [Probe(1), Probe(3), Probe(2, nprobe=1), Probe(9, with_vectors=True)]
    one, two, three, four = map(near, Searcher(data, UNWATCHED).search(ITEMS, probes))
    assert [len(found.rows) for found in (one, two, three, four)] == [1, 3, 2, 4]
    assert [found.ids[0] for found in (one, two, three, four)] == ["a", "b", "c", "d"]
    assert one.vectors is None
    assert four.vectors is not None
    assert np.array_equal(four.vectors[0], ITEMS[3])
    assert {found.seq for found in (one, two, three, four)} == {1}


def test_a_probe_keeps_to_its_collection_filter_exclusions_and_score(data: DataDirectory) -> None:
    probes = [
        Probe(4, "empty"),
        Probe(4, condition=compile_filter("n >= 2")),
        Probe(4, excluded=frozenset({"c", "nobody"})),
        Probe(4, min_score=0.5),
        Probe(1, "gone"),
    ]
    *found, gone = Searcher(data, UNWATCHED).search(np.stack([ITEMS[2]] * 5), probes)
    empty, filtered, excluded, scored = map(near, found)
    assert empty.ids == []
    assert filtered.ids == ["c", "d"]
    assert excluded.ids == ["a", "b", "d"]
    assert scored.ids == ["c"]
    assert isinstance(gone, CollectionNotFound)


def test_lookups_search_around_their_vectors(data: DataDirectory) -> None:
    data.collection("").write([Delete(["d"])])
    found = map(near, Searcher(data, UNWATCHED).lookup([Lookup(ITEMS[n], Probe(1)) for n in (2, 1, 0)]))
    assert [(one.ids, one.scores.tolist()) for one in found] == [(["c"], [1.0]), (["b"], [1.0]), (["a"], [1.0])]


def test_many_threads_search(data: DataDirectory) -> None:
    searcher = Searcher(data, UNWATCHED)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(100):
                assert near(searcher.search(ITEMS, [Probe(1)] * 4)[3]).ids == ["d"]
        except BaseException as error:  # noqa: BLE001  # told to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures


def encode(batch: Sequence[Any]) -> Vectors:
    return np.stack([ITEMS[row] if row < 4 else np.full(4, np.nan, np.float32) for row in batch])


def test_an_encoder_batch_searches_for_those_that_ask(data: DataDirectory) -> None:
    batch = [Encode(1, Probe(1)), Encode(9, Probe(1)), Encode(2, None), Encode(3, Probe(2)), Encode(0, Probe(1, "no"))]
    first, broken, silent, last, lost = encode_batch(encode, Searcher(data, UNWATCHED), batch)  # type: ignore[type-var]
    assert isinstance(broken, ComputeFailed)
    assert isinstance(first, Encoded) and first.near is not None
    assert first.near.ids == ["b"]
    assert isinstance(silent, Encoded) and silent.near is None
    assert isinstance(last, Encoded) and last.near is not None
    assert last.near.ids[0] == "d"
    assert isinstance(lost, CollectionNotFound)


def test_without_an_index_nothing_is_searched() -> None:
    outputs = encode_batch(encode, None, [Encode(0, None), Encode(1, None)])  # type: ignore[type-var]
    assert [isinstance(output, Encoded) and output.near is None for output in outputs] == [True, True]


@pytest.mark.parametrize(
    ("probes", "handed"),
    [
        ([Probe(1), Probe(3), Probe(2)], [True]),
        ([Probe(1), None, Probe(2)], [False]),
        ([Probe(1), Probe(1, "empty"), Probe(2)], [False, False]),
    ],
)
def test_what_a_tower_handed_over_reaches_an_index_whole_or_as_a_copy(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, probes: list[Probe | None], handed: list[bool]
) -> None:
    reached: list[bool] = []
    search = View.search

    def seen(view: View, queries: Vectors, *more: Any) -> Any:
        reached.append(isinstance(queries, HandedVectors) and queries.on_gpu is not None)
        return search(view, queries, *more)

    monkeypatch.setattr(View, "search", seen)
    batch = [Encode(row, probe) for row, probe in enumerate(probes)]
    outputs = encode_batch(
        lambda rows: HandedVectors.of(encode(rows), "on the GPU"),
        Searcher(data, UNWATCHED),
        batch,  # type: ignore[type-var]
    )
    assert reached == handed
    for row, output in enumerate(outputs):
        assert isinstance(output, Encoded)
        np.testing.assert_array_equal(output.vector, ITEMS[row])
