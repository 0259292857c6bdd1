"""Snapshot over the wire: taken while the server writes, refused where it must be, served again by another server."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2

from clipsearch.backups import restore
from clipsearch.errors import CollectionExists, CollectionNotFound, UnusableIndex
from clipsearch.index.storage import find_snapshots
from clipsearch.settings import Settings
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.verification import verify
from tests.unit.catalogue.support import flip_embedding

from .support import SAMPLE_BUNDLE, Running
from .test_rpc_catalogue import Stubs, connected, failure, found, item, reason_of, settings, upsert


@dataclass(frozen=True)
class Site:
    """A server with two collections, one of them indexed, and where its snapshots lie."""

    stubs: Stubs
    snapshots: Path
    data: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    options = Settings(
        bundle=SAMPLE_BUNDLE, data=root / "data", snapshots=root / "snapshots", listen="127.0.0.1:0", device="cpu"
    )
    with Running(options) as running:
        channel, stubs = connected(running)
        with channel:
            upsert(stubs, "", *(item(f"i{n}", n) for n in range(20)))
            finished(stubs, stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest()))
            upsert(stubs, "", item("late", 30))
            stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection="small"))
            upsert(stubs, "small", item("only", 5))
            yield Site(stubs, options.snapshots or root, root / "data")


def finished(stubs: Stubs, started: operations_pb2.Operation) -> operations_pb2.Operation:
    done = stubs.operations.WaitOperation(operations_pb2.WaitOperationRequest(name=started.name), timeout=30)
    assert done.done
    return done


def take(site: Site, name: str, *collections: str) -> pb.SnapshotResponse:
    done = finished(site.stubs, start(site, name, *collections))
    response = pb.SnapshotResponse()
    assert done.response.Unpack(response), done
    progress = pb.SnapshotMetadata()
    assert done.metadata.Unpack(progress)
    copied = len(response.collections)
    assert (progress.name, progress.done_steps, progress.total_steps) == (name, copied, copied)
    return response


def start(site: Site, name: str, *collections: str) -> operations_pb2.Operation:
    return site.stubs.catalogue.Snapshot(pb.SnapshotRequest(name=name, collections=collections), timeout=30)


def test_a_snapshot_of_all_is_a_data_directory_that_another_server_serves(site: Site, tmp_path: Path) -> None:
    default, small = take(site, "all").collections
    assert (default.collection, default.items, default.sequence_number) == ("default", 21, 2)
    assert default.index_sequence_number == 1 and default.disk_bytes > 0
    assert (small.collection, small.items, small.HasField("index_sequence_number")) == ("small", 1, False)
    copied = site.snapshots / "all"
    assert [verify(copied / name).ok for name in ("default", "small")] == [True, True]
    assert sorted(restore(copied, tmp_path)) == ["default", "small"]
    with Running(settings(tmp_path)) as running:
        channel, stubs = connected(running)
        with channel:
            assert [found(stubs, "", n, min_score=0.9) for n in (0, 19, 30)] == [["i0"], ["i19"], ["late"]]
            assert found(stubs, "small", 5) == ["only"]
            stats = stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest())
            assert (stats.index.sequence_number, stats.delta_items) == (1, 1), "the copied index is the one that serves"
            upsert(stubs, "small", item("another", 6))
    assert found(site.stubs, "small", 6, min_score=0.9) == []


def test_one_collection_can_be_copied_and_a_copy_without_its_index_works(site: Site, tmp_path: Path) -> None:
    (only,) = take(site, "2026/one", "default").collections
    assert only.collection == "default"
    (manifest,) = (site.snapshots / "2026/one/default").glob("index-*/manifest.json")
    manifest.write_text("torn")
    assert restore(site.snapshots / "2026/one", tmp_path)["default"].index_seq is None
    assert find_snapshots(tmp_path / "default") == []
    with Running(settings(tmp_path)) as running:
        channel, stubs = connected(running)
        with channel:
            assert found(stubs, "", 3, min_score=0.9) == ["i3"]
            finished(stubs, stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest()))
            stats = stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest())
            assert (stats.index.size, stats.delta_items) == (21, 0)


def test_a_damaged_index_is_left_out_of_a_snapshot(site: Site) -> None:
    site.stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection="torn"))
    upsert(site.stubs, "torn", item("a", 1))
    finished(site.stubs, site.stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest(collection="torn")))
    (ids,) = (site.data / "torn").glob("index-*/ids.utf8")
    ids.write_bytes(b"x")
    (copied,) = take(site, "torn", "torn").collections
    assert (copied.items, copied.HasField("index_sequence_number")) == (1, False)
    assert verify(site.snapshots / "torn/torn").ok
    site.stubs.catalogue.DeleteCollection(pb.DeleteCollectionRequest(collection="torn"))


def test_a_snapshot_holds_one_moment_while_others_write_and_rebuild(site: Site) -> None:
    """Every call replaces all five items, so a copy of half of one would show."""
    site.stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection="busy"))
    upsert(site.stubs, "busy", *(item(f"i{n}", n, turn=0) for n in range(5)))
    stop = threading.Event()
    turns = []

    def write() -> None:
        while not stop.is_set():
            turns.append(len(turns) + 1)
            upsert(site.stubs, "busy", *(item(f"i{n}", n + 10 * (turns[-1] % 10), turn=turns[-1]) for n in range(5)))
            finished(site.stubs, site.stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest(collection="busy")))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copies = [take(site, f"busy{n}", "busy").collections[0] for n in range(5)]
    finally:
        stop.set()
        thread.join(timeout=30)
    for n, copied in enumerate(copies):
        whole = verify(site.snapshots / f"busy{n}/busy")
        assert whole.ok and whole.live == copied.items == 5, whole
    assert turns, "nothing was written meanwhile"
    site.stubs.catalogue.DeleteCollection(pb.DeleteCollectionRequest(collection="busy"))


@pytest.mark.parametrize(
    "name", ["", "/tmp/out", "..", "../out", "a/../../out", ".hidden", "a//b", "a\nb", "x" * 201, "link/out"]
)
def test_a_snapshot_stays_in_its_directory(site: Site, tmp_path: Path, name: str) -> None:
    site.snapshots.mkdir(exist_ok=True)
    if name.startswith("link"):
        (site.snapshots / "link").symlink_to(tmp_path)
    assert failure(lambda: start(site, name)) == (grpc.StatusCode.INVALID_ARGUMENT, "PATH_NOT_ALLOWED")
    assert list(tmp_path.iterdir()) == []


def test_snapshots_that_cannot_be(site: Site, tmp_path: Path) -> None:
    take(site, "twice", "small")
    assert failure(lambda: start(site, "twice")) == (grpc.StatusCode.ALREADY_EXISTS, "SNAPSHOT_EXISTS")
    assert failure(lambda: start(site, "none", "nothing"))[1] == "COLLECTION_NOT_FOUND"
    (site.snapshots / "file").touch()
    done = finished(site.stubs, start(site, "file/under", "small"))
    assert reason_of(done.error) == "STORAGE_FAILED" and str(site.snapshots) not in done.error.message
    assert not list(site.snapshots.rglob(".*")), "nothing unfinished is left"
    with Running(settings(tmp_path)) as running:
        channel, stubs = connected(running)
        with channel:
            refused = failure(lambda: stubs.catalogue.Snapshot(pb.SnapshotRequest(name="a")))
            assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED")


def test_what_is_damaged_or_would_overwrite_is_not_restored(site: Site, tmp_path: Path) -> None:
    take(site, "damaged")
    copied = site.snapshots / "damaged"
    restore(copied, tmp_path / "data", "small")
    with pytest.raises(CollectionExists):
        restore(copied, tmp_path / "data")
    with pytest.raises(CollectionNotFound):
        restore(copied, tmp_path / "data", "nothing")
    flip_embedding(copied / "default", row=3)
    with pytest.raises(UnusableIndex, match="the embedding of 'i3' is damaged"):
        restore(copied, tmp_path / "new")
    assert not (tmp_path / "new").exists()
