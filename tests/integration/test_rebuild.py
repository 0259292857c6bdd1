"""The index of a living collection: added to, trained anew, swapped under searches, written at a shutdown."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.clustered_vectors import clustered
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.client import Client, NewItem
from clipsearch.collection import Collection, CollectionOptions
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Kind, Training
from clipsearch.index.storage import newest_snapshot, read_manifest
from clipsearch.index.tuning import Report
from clipsearch.rebuilds import REPLAY_US, WORTH_S, WRITE_US, worth_writing
from clipsearch.services.build_index import IndexOptions, derive_index
from clipsearch.services.build_report import RejectLog, Tally
from clipsearch.settings import Settings
from tests.integration.support import SAMPLE_BUNDLE, Running

N, D = 12_000, 16
TAIL = round(WORTH_S / REPLAY_US * 1e6)
"""Rows that are worth an index at a shutdown."""

Opened = Callable[[], Collection]
Vectors = NDArray[np.float32]


def derive(kind: Kind) -> Callable[[Path, CatalogueReader, Report, Training], None]:
    def work(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
        options = IndexOptions(kind, threads=2, training=training)
        with RejectLog(directory, Tally()) as rejects:
            derive_index(directory, reader, queries=None, options=options, report=report, rejects=rejects)

    return work


def opened(directory: Path, kind: Kind = Kind.AUTO, d: int = D) -> Collection:
    options = CollectionOptions(d, "ab" * 32, derive(kind), device="cpu", threads=1, rebuild_by_itself=False)
    return Collection("tested", directory, options)


def write(collection: Collection, vectors: Vectors, first: int) -> None:
    for start in range(0, len(vectors), 1000):
        some = vectors[start : start + 1000].astype(np.float16)
        items = [Item(f"i{first + start + i}", "{}", vector) for i, vector in enumerate(some)]
        (answer,) = collection.write([Upsert(items)])
        assert isinstance(answer, Applied)


def recall(collection: Collection, queries: Vectors) -> float:
    """Recall@10 against exact search of the same view."""
    view = collection.view
    found, _ = view.search(queries, 10)
    exact, _ = view.search_exactly(queries, 10)
    return float((found >= exact[:, -1:] - 1e-5).mean())


def trained_at(manifest: IndexManifest) -> int:
    assert manifest.ivfpq is not None
    return manifest.ivfpq.training.seq


@pytest.fixture(name="data", scope="module")
def _data() -> Vectors:
    return clustered(N + 3_000, D, 300, seed=1).base


@pytest.fixture(name="collection")
def _collection(tmp_path: Path, data: Vectors) -> Iterator[Collection]:
    """Of N items, with an index that was trained on them."""
    collection = opened(tmp_path, Kind.IVFPQ)
    write(collection, data[:N], 0)
    collection.rebuild()
    yield collection
    collection.close()


def test_rebuilds_add_again_until_training_is_asked_for_or_called_for(collection: Collection, data: Vectors) -> None:
    queries = data[:300]
    trained = collection.view.seq
    write(collection, data[N:], N)
    (answer,) = collection.write([Delete([f"i{n}" for n in range(0, 600, 2)])])
    assert isinstance(answer, Applied)
    before = recall(collection, queries)
    manifest = collection.rebuild()
    assert (trained_at(manifest), manifest.seq, manifest.size) == (trained, collection.view.seq, N + 2_700)
    assert collection.view.delta_size == 0
    assert manifest.image_recall is not None and manifest.image_recall.met
    assert recall(collection, queries) >= min(before, 0.95)
    # Nothing has changed, so nothing is built; but an index that was added to is no answer to a wish for training.
    assert collection.rebuild() == manifest
    again = collection.rebuild(training=Training.ALWAYS)
    assert trained_at(again) == again.seq == manifest.seq
    write(collection, clustered(2_000, D, 1, seed=9).base, 2 * N)
    drifted = collection.rebuild()
    assert trained_at(drifted) == drifted.seq > manifest.seq
    assert recall(collection, queries) >= 0.95


def test_a_rebuild_reports_from_nothing_read_to_everything(collection: Collection, data: Vectors) -> None:
    write(collection, data[N:], N)
    told: list[tuple[str, int, int]] = []
    collection.rebuild(lambda *progress: told.append(progress))
    reads = [(done, total) for stage, done, total in told if stage == "reading"]
    assert reads[0] == (0, len(data))
    assert reads[-1] == (len(data), len(data))
    assert reads == sorted(reads)


def test_searches_go_on_while_an_index_is_swapped(collection: Collection, data: Vectors) -> None:
    write(collection, data[N:], N)
    over, counts, failures = threading.Event(), [0, 0], list[str]()

    def search(place: int) -> None:
        rng = np.random.default_rng(place)
        while not over.is_set():
            wanted = rng.choice(N + 3_000, 4, replace=False)
            view = collection.view
            _, rows = view.search(data[wanted].astype(np.float16).astype(np.float32), 3)
            names = [collection.ids(some) for some in rows]
            counts[place] += 1
            # Copies apart, an item is the nearest to itself, in the old index, the delta and the new index.
            failures.extend(f"i{n} among {some}" for n, some in zip(wanted, names, strict=True) if f"i{n}" not in some)

    threads = [threading.Thread(target=search, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    try:
        manifests = [collection.rebuild(), collection.rebuild(training=Training.ALWAYS)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert [trained_at(manifest) == manifest.seq for manifest in manifests] == [False, True]
    assert min(counts) > 0
    # A search may miss an item, as recall says; it may not fail or mix.
    assert len(failures) <= 0.02 * 4 * sum(counts), failures[:5]


def test_a_long_tail_is_in_an_index_at_the_next_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    vectors = clustered(TAIL, 8, 1).base
    collection = opened(tmp_path, d=8)
    write(collection, vectors, 0)
    collection.stop_rebuilding()
    collection.save_index(60.0)
    collection.close()
    assert "collection tested: wrote an index for the next start" in caplog.messages
    again = opened(tmp_path, d=8)
    assert (again.view.base_size, again.view.delta_size) == (TAIL, 0)
    _, rows = again.view.search(vectors[:50].astype(np.float16).astype(np.float32), 1)
    assert again.ids(rows[:, 0]) == [f"i{n}" for n in range(50)]
    # Now there is no tail.
    caplog.clear()
    again.stop_rebuilding()
    again.save_index(60.0)
    assert not caplog.messages
    again.close()


def test_with_too_little_time_or_training_to_do_the_tail_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collection = opened(tmp_path, d=8)
    write(collection, clustered(TAIL + 1_000, 8, 1).base, 0)
    collection.stop_rebuilding()
    collection.save_index(0.0)
    assert not caplog.messages
    collection.save_index(60.0)
    assert caplog.messages == ["collection tested: its index has to be trained, which is left to the next start"]
    collection.close()
    again = opened(tmp_path, d=8)
    assert (again.view.base_size, again.view.delta_size) == (0, TAIL + 1_000)
    again.close()


def test_when_the_time_is_over_nothing_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collection = opened(tmp_path, d=8)
    write(collection, clustered(TAIL, 8, 1).base, 0)
    collection.stop_rebuilding()
    now = iter([0.0, *[1.0] * 3])  # each step asks once; the fourth is late
    monkeypatch.setattr("clipsearch.rebuilds.time.monotonic", lambda: next(now, 100.0))
    collection.save_index(60.0)
    monkeypatch.undo()
    assert [line for line in caplog.messages if "the time for it is over" in line]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set()
    collection.close()


def test_what_an_interrupted_build_left_goes_at_the_next_start(tmp_path: Path) -> None:
    collection = opened(tmp_path, d=8)
    write(collection, clustered(100, 8, 1).base, 0)
    collection.close()
    (tmp_path / ".building-1").mkdir()
    (tmp_path / ".building-1" / "vectors.faiss").write_bytes(b"half")
    opened(tmp_path, d=8).close()
    assert not (tmp_path / ".building-1").exists()


@pytest.mark.parametrize(
    ("tail", "living", "seconds", "worth"),
    [
        (TAIL, TAIL, 10.0, True),
        (TAIL - 1, TAIL, 10.0, False),
        (TAIL, round(10.0 / WRITE_US * 1e6) + 1, 10.0, False),
        (TAIL, TAIL, -1.0, False),
    ],
)
def test_which_tails_are_worth_it(tail: int, living: int, seconds: float, worth: bool) -> None:
    assert worth_writing(tail, living, seconds) is worth


def test_a_server_tunes_to_the_target_that_it_was_given(tmp_path: Path) -> None:
    settings = Settings(
        bundle=SAMPLE_BUNDLE, data=tmp_path, listen="127.0.0.1:0", device="cpu", recall_target=0.9, grace_s=0
    )
    with Running(settings) as running, Client(running.address) as client:
        client.catalogue.upsert([NewItem("one", text="a red dress")])
        client.catalogue.rebuild_index().wait(timeout=60)
    assert read_manifest(newest_snapshot(tmp_path / "default")).recall_target == 0.9
