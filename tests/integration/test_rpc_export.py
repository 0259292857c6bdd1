"""ExportItems over the wire, and ImportItems of what it wrote: the same items, of one state, or a clear refusal."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2

from clipsearch.app import App
from clipsearch.catalogue.schema import catalogue_file
from clipsearch.client import AlreadyExists, AsyncClient, Client
from clipsearch.errors import Cancelled
from clipsearch.services.exports import BLOCK, export_items
from clipsearch.services.jobs import ExportOf
from clipsearch.settings import Settings
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import common_pb2
from tests.unit.catalogue.support import flip_embedding

from .support import SAMPLE_BUNDLE, Running
from .test_rpc_catalogue import DIMENSION, Stubs, connected, failure, item, jpeg, reason_of, settings, upsert

COLUMNS = "id, metadata, uri, content_hash, embedding, checksum"


@dataclass(frozen=True)
class Site:
    """A server at its address, its app, its data, and the directory that it exports to and imports from."""

    stubs: Stubs
    address: str
    app: App
    data: Path
    files: Path

    def stored(self, collection: str) -> dict[str, tuple[Any, ...]]:
        """All that is stored of each live item, as it lies in the catalogue."""
        with closing(sqlite3.connect(catalogue_file(self.data / collection))) as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM items WHERE deleted_seq IS NULL").fetchall()
        return {row[0]: row for row in rows}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    files = root / "files"
    files.mkdir()
    options = Settings(
        bundle=SAMPLE_BUNDLE, data=root / "data", imports=files, exports=files, listen="127.0.0.1:0", device="cpu"
    )
    with Running(options) as running:
        channel, stubs = connected(running)
        with channel:
            yield Site(stubs, running.address, running.app, root / "data", files)


@pytest.fixture
def collection(site: Site, request: pytest.FixtureRequest) -> str:
    """A collection of the test's own."""
    return created(site, request.node.name.lower().replace("[", "-").replace("]", "")[:56])


def created(site: Site, name: str) -> str:
    site.stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection=name))
    return name


def start(site: Site, collection: str, path: str, **fields: Any) -> operations_pb2.Operation:
    return site.stubs.catalogue.ExportItems(
        pb.ExportItemsRequest(collection=collection, path=path, **fields), timeout=30
    )


def finished(site: Site, started: operations_pb2.Operation) -> operations_pb2.Operation:
    request = operations_pb2.WaitOperationRequest(name=started.name, timeout=duration_pb2.Duration(seconds=60))
    done = site.stubs.operations.WaitOperation(request, timeout=70)
    assert done.done
    return done


def export(site: Site, collection: str, path: str, **fields: Any) -> pb.ExportItemsResponse:
    done = finished(site, start(site, collection, path, **fields))
    response = pb.ExportItemsResponse()
    assert done.response.Unpack(response), done
    progress = pb.ExportItemsMetadata()
    assert done.metadata.Unpack(progress)
    assert (progress.collection, progress.path, progress.stage) == (collection, path, "exporting")
    assert progress.done_steps == progress.total_steps == response.items + response.damaged_items
    assert response.file_bytes == (site.files / path).stat().st_size
    assert not list(site.files.rglob(".*")), "nothing unfinished is left"
    return response


def start_import(site: Site, collection: str, path: str, **fields: Any) -> operations_pb2.Operation:
    request = pb.ImportItemsRequest(collection=collection, path=path, **fields)
    return finished(site, site.stubs.catalogue.ImportItems(request, timeout=30))


def load(site: Site, collection: str, path: str, **fields: Any) -> pb.ImportItemsResponse:
    done = start_import(site, collection, path, **fields)
    response = pb.ImportItemsResponse()
    assert done.response.Unpack(response), done
    return response


def counts(response: pb.ImportItemsResponse) -> tuple[int, int, int]:
    return (response.counts.created_items, response.counts.updated_items, response.counts.unchanged_items)


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, DIMENSION)).astype(np.float32)


def fill(site: Site, collection: str, n: int, **metadata: Any) -> None:
    """Write items with random vectors, which float16 rounds."""
    given = vectors(n)
    for start_at in range(0, n, 200):
        some = [pb.UpsertItem(id=f"v{i}") for i in range(start_at, min(start_at + 200, n))]
        for one in some:
            one.vector.CopyFrom(common_pb2.Embedding(float32={"values": given[int(one.id[1:])].tolist()}))
            one.metadata.update({"n": int(one.id[1:]), **metadata})
        upsert(site.stubs, collection, *some)


def rewritten(site: Site, path: str, to: str, change: Callable[[pyarrow.Table], pyarrow.Table]) -> str:
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(site.files / path)), site.files / to)
    return to


def with_key(name: str, value: str) -> Callable[[pyarrow.Table], pyarrow.Table]:
    return lambda table: table.replace_schema_metadata({**table.schema.metadata, name.encode(): value})


def test_an_import_of_an_export_has_the_same_items_bit_for_bit(site: Site, collection: str) -> None:
    fill(site, collection, 3 * BLOCK // 2)
    nested = {"title": "Überrock", "price": 4.5, "size": 38, "tags": ["a", None, {"deep": True}]}
    dressed = pb.UpsertItem(id="päir/1", images=pb.Images(images=[jpeg((200, 0, 0))]), uri="https://shop.example/1")
    dressed.metadata.update(nested)
    upsert(site.stubs, collection, dressed, pb.UpsertItem(id="words", text="a red dress"), item("gone", 3))
    upsert(site.stubs, collection, item("v7", 4, replaced=True))
    site.stubs.catalogue.DeleteItems(pb.DeleteItemsRequest(collection=collection, ids=["gone", "v8"]))
    origin = site.stored(collection)

    response = export(site, collection, "all.parquet")
    assert (response.items, response.damaged_items) == (len(origin), 0)
    file = pyarrow.parquet.ParquetFile(site.files / "all.parquet")
    assert file.metadata.num_row_groups == 2
    assert file.schema_arrow.field("embedding").type == pyarrow.list_(pyarrow.float16(), DIMENSION)
    about = file.schema_arrow.metadata
    assert about[b"clipsearch.weight_hash"].decode() == site.app.encoders.manifest.weight_hash
    assert int(about[b"clipsearch.sequence_number"]) == response.sequence_number

    copy = created(site, f"{collection}-copy")
    assert counts(load(site, copy, "all.parquet")) == (len(origin), 0, 0)
    assert site.stored(copy) == origin
    again = load(site, copy, "all.parquet")
    assert counts(again) == (0, 0, len(origin))
    upsert(site.stubs, copy, item("own", 5), item("v9", 6))
    third = load(site, copy, "all.parquet")
    assert counts(third) == (0, 1, len(origin) - 1), "what was changed is put back, what the file lacks stays"
    assert site.stored(copy) == {**origin, "own": site.stored(copy)["own"]}
    home = load(site, collection, "all.parquet")
    assert (counts(home), home.sequence_number) == ((0, 0, len(origin)), response.sequence_number)
    found = site.stubs.catalogue.GetItem(pb.GetItemRequest(collection=copy, id="päir/1")).item
    assert (dict(found.metadata)["title"], found.uri) == ("Überrock", "https://shop.example/1")


async def test_both_clients_export_and_import(site: Site, collection: str) -> None:
    fill(site, collection, 5)
    with Client(site.address) as client:
        export = client.catalogue.export_items("client.parquet", collection=collection)
        assert export.wait(timeout=60).items == 5
        progress = export.progress()
        assert (progress.stage, progress.done_steps, progress.total_steps, progress.done) == ("exporting", 5, 5, True)
        with pytest.raises(AlreadyExists):
            client.catalogue.export_items("client.parquet", collection=collection)
    copy = created(site, f"{collection}-copy")
    async with AsyncClient(site.address) as client:
        again = await client.catalogue.export_items("client.parquet", collection=collection, overwrite=True)
        assert (await again.wait(timeout=60)).damaged_items == 0
        loaded = await client.catalogue.import_items("client.parquet", collection=copy)
        assert (await loaded.wait(timeout=60)).created_items == 5
    assert site.stored(copy) == site.stored(collection)


def test_an_empty_collection_is_a_file_without_rows(site: Site, collection: str) -> None:
    assert export(site, collection, "2026/empty.parquet").items == 0
    assert counts(load(site, collection, "2026/empty.parquet")) == (0, 0, 0)


def test_an_export_is_of_one_state_while_others_write(site: Site, collection: str) -> None:
    """Between blocks items are replaced, deleted and added over the wire, and the file has none of it."""
    fill(site, collection, 2 * BLOCK + 10)
    before = site.stored(collection)
    written: list[int] = []

    def report(stage: str, done: int, total: int) -> None:
        assert total == len(before)
        written.append(upsert(site.stubs, collection, item("v0", 1), item(f"new{done}", 2)).sequence_number)
        site.stubs.catalogue.DeleteItems(pb.DeleteItemsRequest(collection=collection, ids=[f"v{2 * BLOCK + 1}"]))

    exported = export_items(site.data / collection, site.files / "one.parquet", report)
    assert len(written) == 4 and exported.seq == written[0] - 1
    copy = created(site, f"{collection}-copy")
    load(site, copy, "one.parquet")
    assert site.stored(copy) == before


def test_exports_beside_a_writer_are_each_the_state_of_their_sequence_number(site: Site, collection: str) -> None:
    states = {upsert(site.stubs, collection, *(item(f"i{n}", n, turn=0) for n in range(50))).sequence_number: 0}
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            response = upsert(site.stubs, collection, *(item(f"i{n}", n, turn=turn) for n in range(50)))
            states[response.sequence_number] = turn
            begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(30)
        taken = {f"w{n}.parquet": export(site, collection, f"w{n}.parquet").sequence_number for n in range(5)}
    finally:
        stop.set()
        thread.join(timeout=30)
    assert len(set(taken.values())) > 1, "nothing was written meanwhile"
    for path, seq in taken.items():
        rows = pyarrow.parquet.read_table(site.files / path).to_pylist()
        assert {row["metadata"] for row in rows} == {f'{{"turn":{states[seq]}}}'} and len(rows) == 50


def test_a_cancelled_export_leaves_the_old_file_and_no_other(site: Site, collection: str) -> None:
    """The job stands still before its second block until it is cancelled."""
    fill(site, collection, BLOCK + 1)
    to = site.files / "cancelled/old.parquet"
    to.parent.mkdir()
    to.write_bytes(b"old")
    standing, released = threading.Event(), threading.Event()

    def work(report: Callable[[str, int, int], None]) -> object:
        def gated(stage: str, done: int, total: int) -> None:
            if done == BLOCK:
                assert len(list(to.parent.iterdir())) == 2
                standing.set()
                assert released.wait(30)
            report(stage, done, total)

        return export_items(site.data / collection, to, gated, overwrite=True)

    job = site.app.operations.start(ExportOf(collection, "cancelled/old.parquet"), work)
    assert standing.wait(30)
    assert failure(lambda: start(site, "", "other.parquet")) == (grpc.StatusCode.ABORTED, "OPERATION_RUNNING")
    site.stubs.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=job.name))
    released.set()
    assert reason_of(finished(site, operations_pb2.Operation(name=job.name)).error) == "CANCELLED"
    assert [path.name for path in to.parent.iterdir()] == ["old.parquet"] and to.read_bytes() == b"old"


def test_a_first_export_that_fails_leaves_nothing(site: Site, collection: str) -> None:
    fill(site, collection, 10)

    def report(stage: str, done: int, total: int) -> None:
        if done == total:
            raise Cancelled("at the last step")

    with pytest.raises(Cancelled):
        export_items(site.data / collection, site.files / "failed/new.parquet", report)
    assert list((site.files / "failed").iterdir()) == []


def test_damaged_embeddings_are_left_out_and_reported(site: Site, collection: str) -> None:
    fill(site, collection, 150)
    for row in range(120):
        flip_embedding(site.data / collection, row)
    response = export(site, collection, "damaged.parquet")
    assert (response.items, response.damaged_items) == (30, 120)
    assert list(response.first_damaged_ids) == [f"v{n}" for n in range(100)]
    copy = created(site, f"{collection}-copy")
    assert counts(load(site, copy, "damaged.parquet")) == (30, 0, 0)
    assert set(site.stored(copy)) == {f"v{n}" for n in range(120, 150)}


@pytest.mark.parametrize("path", ["", "/tmp/out.parquet", "../out.parquet", ".hidden.parquet", "link/out.parquet"])
def test_an_export_stays_in_its_directory(site: Site, tmp_path: Path, path: str) -> None:
    if path.startswith("link"):
        (site.files / "link").symlink_to(tmp_path)
    assert failure(lambda: start(site, "", path)) == (grpc.StatusCode.INVALID_ARGUMENT, "PATH_NOT_ALLOWED")
    assert list(tmp_path.iterdir()) == []


def test_exports_that_cannot_be(site: Site, collection: str, tmp_path: Path) -> None:
    fill(site, collection, 3)
    export(site, collection, "once.parquet")
    first = (site.files / "once.parquet").read_bytes()
    upsert(site.stubs, collection, item("more", 1))
    refused = failure(lambda: start(site, collection, "once.parquet"))
    assert refused == (grpc.StatusCode.ALREADY_EXISTS, "EXPORT_EXISTS")
    assert (site.files / "once.parquet").read_bytes() == first
    assert export(site, collection, "once.parquet", overwrite=True).items == 4
    (site.files / "directory.parquet").mkdir()
    assert failure(lambda: start(site, collection, "directory.parquet", overwrite=True))[1] == "EXPORT_EXISTS"
    assert failure(lambda: start(site, collection, "items.csv"))[1] == "INVALID_INPUT"
    assert failure(lambda: start(site, "nowhere", "a.parquet"))[1] == "COLLECTION_NOT_FOUND"
    done = finished(site, start(site, collection, "once.parquet/under.parquet"))
    assert reason_of(done.error) == "STORAGE_FAILED" and str(site.files) not in done.error.message
    with Running(settings(tmp_path)) as running:
        channel, stubs = connected(running)
        with channel:
            refused = failure(lambda: stubs.catalogue.ExportItems(pb.ExportItemsRequest(path="a.parquet")))
            assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED")


def test_files_of_other_models_and_versions_are_refused_whole(site: Site, collection: str) -> None:
    fill(site, collection, 3)
    export(site, collection, "ours.parquet")
    shorter = pyarrow.table(
        {"id": ["a"], "embedding": pyarrow.array([[1.0, 0.0]], pyarrow.list_(pyarrow.float16(), 2))}
    )
    pyarrow.parquet.write_table(shorter, site.files / "short.parquet")
    refusals = {
        rewritten(site, "ours.parquet", "model.parquet", with_key("clipsearch.weight_hash", "ab" * 32)): (
            "VECTOR_WRONG_MODEL",
            "made by another model (weights abababababab,",
        ),
        rewritten(site, "ours.parquet", "later.parquet", with_key("clipsearch.items_version", "2")): (
            "INVALID_INPUT",
            "an export of version 2",
        ),
        rewritten(site, "ours.parquet", "less.parquet", lambda table: table.drop_columns(["uri"])): (
            "INVALID_INPUT",
            "without the column uri",
        ),
        "short.parquet": ("VECTOR_WRONG_DIMENSION", "vectors of dimension 2"),
    }
    target = created(site, f"{collection}-copy")
    for name, (reason, words) in refusals.items():
        error = start_import(site, target, name).error
        assert (reason_of(error), words in error.message, str(site.files) in error.message) == (reason, True, False)
    assert site.stored(target) == {}


def test_embeddings_that_somebody_changed_are_not_taken_for_the_old_ones(site: Site, collection: str) -> None:
    fill(site, collection, 3)
    export(site, collection, "before.parquet")

    def turned(table: pyarrow.Table) -> pyarrow.Table:
        rows = table.to_pylist()
        rows[1]["embedding"] = np.eye(DIMENSION, dtype=np.float16)[9]
        rows[2]["metadata"] = "[]"
        return pyarrow.Table.from_pylist(rows, schema=table.schema)

    left_out = load(site, collection, rewritten(site, "before.parquet", "turned.parquet", turned))
    assert counts(left_out) == (0, 0, 1)
    assert [(one.path, one.reason) for one in left_out.first_rejects] == [
        ("turned.parquet:1", "EMBEDDING_DAMAGED"),
        ("turned.parquet:2", "METADATA_NOT_USABLE"),
    ]
    rewritten(site, "turned.parquet", "meant.parquet", lambda table: table.drop_columns(["checksum"]))
    assert load(site, collection, "meant.parquet").counts.updated_items == 2
    embedding = np.frombuffer(site.stored(collection)["v1"][4], "<f2")
    assert np.array_equal(embedding, np.eye(DIMENSION)[9])


def test_metadata_files_are_merged_into_what_was_exported(site: Site, collection: str) -> None:
    fill(site, collection, 2, kind="old")
    export(site, collection, "plain.parquet")
    (site.files / "more.jsonl").write_text('{"id": "v1", "kind": "new"}\n')
    response = load(site, collection, "plain.parquet", metadata_path="more.jsonl")
    assert (counts(response), response.counts.items_without_metadata) == ((0, 1, 1), 1)
    assert site.stored(collection)["v1"][1] == '{"kind":"new","n":1}'
