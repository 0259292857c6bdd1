"""Collections that are deleted while they are searched, written, loaded into and rebuilt.

``CLIPSEARCH_DELETE_ROUNDS=50`` deletes as often; without it a few times.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2
from google.rpc import code_pb2
from grpc_status import rpc_status

from clipsearch.services import imports
from clipsearch.services.build_vectors import VectorRow, VectorSource, open_npy
from clipsearch.settings import Settings
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import search_pb2

from .support import SAMPLE_BUNDLE, Running
from .test_rpc_catalogue import DIMENSION, Stubs, axis, connected, found, item, reason_of, upsert

ROUNDS = int(os.environ.get("CLIPSEARCH_DELETE_ROUNDS", "3"))
SOURCE_ITEMS = 60_000
"""Vectors of the import: seconds of work, so that it is under way when its collection is deleted."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Site:
    """A server and the directory of its collections."""

    stubs: Stubs
    data: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    (root / "imports").mkdir()
    vectors = np.random.default_rng(0).standard_normal((SOURCE_ITEMS, DIMENSION)).astype(np.float32)
    np.save(root / "imports/many.npy", vectors)
    settings = Settings(
        bundle=SAMPLE_BUNDLE, data=root / "data", imports=root / "imports", listen="127.0.0.1:0", device="cpu"
    )
    with Running(settings) as running:
        channel, stubs = connected(running)
        with channel:
            yield Site(stubs, root / "data")


@dataclass
class Load:
    """Callers of a collection: each goes on until it is told that there is no such collection."""

    stubs: Stubs
    collection: str
    threads: list[threading.Thread] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def begin(self, steps: dict[str, Step]) -> None:
        """Start a thread for each step, and return when every one of them was answered."""
        answered = {name: threading.Event() for name in steps}
        for name, step in steps.items():
            self.threads.append(
                threading.Thread(target=self._repeat, args=(step, answered[name]), name=name, daemon=True)
            )
            self.threads[-1].start()
        for name, event in answered.items():
            assert event.wait(60), f"nobody answered {name}: {self.failures}"

    def end(self) -> None:
        """Wait until all have been told."""
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} hangs"
        assert not self.failures, self.failures

    def _repeat(self, step: Step, answered: threading.Event) -> None:
        try:
            while True:
                try:
                    step()
                except grpc.RpcError as error:
                    reason = reason_of(rpc_status.from_call(error))  # type: ignore[arg-type]
                    if reason == "COLLECTION_NOT_FOUND":
                        assert error.code() is grpc.StatusCode.NOT_FOUND
                        return
                    if reason not in ("REBUILD_RUNNING", "OPERATION_RUNNING"):
                        raise
                answered.set()
        except BaseException as error:  # noqa: BLE001  # told to the test's own thread
            self.failures.append(error)
            answered.set()


def steps_of(stubs: Stubs, name: str) -> dict[str, Step]:
    """One step of every kind that a collection can be asked for."""
    vector = search_pb2.Query(vector=axis(3))

    def search(query: search_pb2.Query = vector, **fields: object) -> Step:
        request = search_pb2.SearchRequest(
            collection=name,
            query=query,
            top_k=20,
            view=search_pb2.VIEW_FULL,
            **fields,  # type: ignore[arg-type]
        )
        return lambda: stubs.search.Search(request, timeout=30)

    def rebuild() -> None:
        started = stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest(collection=name), timeout=30)
        done = finished(stubs, started)
        assert not done.HasField("error") or done.error.code in (code_pb2.CANCELLED, code_pb2.NOT_FOUND), done

    return {
        "search by vector": search(),
        "search by text": search(search_pb2.Query(text="a red dress")),
        "search by item": search(search_pb2.Query(item_id="kept")),
        "filtered search": search(filter="number < 20"),
        "grouped search": search(group_by="number"),
        "upsert": lambda: upsert(stubs, name, *(item(f"w{n}", n, number=n) for n in range(40))),
        "delete": lambda: stubs.catalogue.DeleteItems(
            pb.DeleteItemsRequest(collection=name, ids=[f"w{n}" for n in range(10)]), timeout=30
        ),
        "get": lambda: stubs.catalogue.GetItem(pb.GetItemRequest(collection=name, id="kept"), timeout=30),
        "list": lambda: stubs.catalogue.ListItems(pb.ListItemsRequest(collection=name, page_size=50), timeout=30),
        "stats": lambda: stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest(collection=name), timeout=30),
        "rebuild": rebuild,
    }


def finished(stubs: Stubs, started: operations_pb2.Operation) -> operations_pb2.Operation:
    request = operations_pb2.WaitOperationRequest(name=started.name, timeout=duration_pb2.Duration(seconds=60))
    done: operations_pb2.Operation = stubs.operations.WaitOperation(request, timeout=70)
    assert done.done, done
    return done


def importing(stubs: Stubs, name: str) -> operations_pb2.Operation:
    """Start to import, and return when the first chunk is stored."""
    request = pb.ImportItemsRequest(collection=name, path="many.npy")
    started: operations_pb2.Operation = stubs.catalogue.ImportItems(request, timeout=30)
    progress = pb.ImportItemsMetadata()
    while progress.counts.created_items == 0:
        now = stubs.operations.GetOperation(operations_pb2.GetOperationRequest(name=started.name), timeout=30)
        assert not now.done, now
        assert now.metadata.Unpack(progress)
    return started


def delete(stubs: Stubs, name: str) -> None:
    stubs.catalogue.DeleteCollection(pb.DeleteCollectionRequest(collection=name), timeout=60)


def test_whoever_uses_a_deleted_collection_is_told_and_others_notice_nothing(site: Site) -> None:
    stubs = site.stubs
    for name in ("other", "afterwards"):
        stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection=name))
    upsert(stubs, "other", item("kept", 3, number=0))
    others = Load(stubs, "other")
    steps = steps_of(stubs, "other")
    others.begin({name: steps[name] for name in ("search by vector", "upsert", "get", "rebuild")})
    for _ in range(ROUNDS):
        stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection="doomed"))
        upsert(stubs, "doomed", item("kept", 3, number=0))
        load = Load(stubs, "doomed")
        load.begin(steps_of(stubs, "doomed"))
        imported = importing(stubs, "doomed")
        delete(stubs, "doomed")
        load.end()
        assert finished(stubs, imported).error.code == code_pb2.NOT_FOUND
        assert sorted(path.name for path in site.data.iterdir()) == ["afterwards", "default", "other"]
        listed = stubs.catalogue.ListCollections(pb.ListCollectionsRequest(), timeout=30).collections
        assert list(listed) == ["afterwards", "default", "other"]
        assert not others.failures and all(thread.is_alive() for thread in others.threads), others.failures
        assert "kept" in found(stubs, "other", 3, top_k=2)
    delete(stubs, "other")
    others.end()
    delete(stubs, "afterwards")


@pytest.mark.parametrize("name", ["again", "default"])
def test_an_import_ends_with_its_collection_and_does_not_fill_the_next_of_its_name(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is held up between two blocks until there is another collection of the name."""
    stubs, replaced = site.stubs, threading.Event()

    def slowly(opened: VectorSource) -> Iterator[Sequence[VectorRow]]:
        yield next(opened.blocks)
        assert replaced.wait(60)
        yield from opened.blocks

    def opener(source: Path) -> Callable[..., VectorSource]:
        def opened(*arguments: Any) -> VectorSource:
            source = open_npy(*arguments)
            return replace(source, blocks=slowly(source))

        return opened

    monkeypatch.setattr(imports, "vectors_opener", opener)
    if name != "default":
        stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection=name))
    imported = importing(stubs, name)
    delete(stubs, name)
    if name != "default":  # that one is made again by itself
        stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection=name))
    replaced.set()
    assert finished(stubs, imported).error.code == code_pb2.NOT_FOUND
    stats = stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest(collection=name), timeout=30)
    assert (stats.items, stats.sequence_number) == (0, 0)
