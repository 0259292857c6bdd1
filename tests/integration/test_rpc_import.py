"""ImportItems over the wire: pictures, vectors, metadata, a second run, a cancelled run, and what is refused."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2

from clipsearch.app import App
from clipsearch.settings import Settings
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import search_pb2

from .build_support import draw, write_lines
from .support import SAMPLE_BUNDLE, Running
from .test_rpc_catalogue import DIMENSION, Stubs, connected, failure, found, item, reason_of, settings, upsert


@dataclass(frozen=True)
class Site:
    """A server, its app, and the directory that it imports from."""

    stubs: Stubs
    app: App
    imports: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    imports = root / "imports"
    imports.mkdir()
    options = Settings(bundle=SAMPLE_BUNDLE, data=root / "data", imports=imports, listen="127.0.0.1:0", device="cpu")
    with Running(options) as running:
        channel, stubs = connected(running)
        with channel:
            yield Site(stubs, running.app, imports)


@pytest.fixture
def collection(site: Site, request: pytest.FixtureRequest) -> str:
    """A collection of the test's own."""
    name = request.node.name.lower().replace("[", "-").replace("]", "")[:60]
    site.stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection=name))
    return name


def start(site: Site, collection: str, path: str, metadata_path: str = "") -> operations_pb2.Operation:
    request = pb.ImportItemsRequest(collection=collection, path=path, metadata_path=metadata_path)
    return site.stubs.catalogue.ImportItems(request, timeout=30)


def finished(site: Site, started: operations_pb2.Operation) -> operations_pb2.Operation:
    request = operations_pb2.WaitOperationRequest(name=started.name, timeout=duration_pb2.Duration(seconds=60))
    done = site.stubs.operations.WaitOperation(request, timeout=70)
    assert done.done
    return done


def load(site: Site, collection: str, path: str, metadata_path: str = "") -> pb.ImportItemsResponse:
    done = finished(site, start(site, collection, path, metadata_path))
    response = pb.ImportItemsResponse()
    assert done.response.Unpack(response), done
    progress = pb.ImportItemsMetadata()
    assert done.metadata.Unpack(progress)
    assert (progress.collection, progress.path, progress.counts) == (collection, path, response.counts)
    assert progress.done_steps == progress.total_steps
    return response


def counts(response: pb.ImportItemsResponse) -> tuple[int, int, int]:
    return (response.counts.created_items, response.counts.updated_items, response.counts.unchanged_items)


def test_pictures_and_their_metadata_are_found_and_a_second_run_passes_over_them(site: Site, collection: str) -> None:
    shop = site.imports / "shop"
    for n in range(150):
        draw(shop / f"{n:03}.png", n)
    (shop / "bad.png").write_bytes(b"no picture")
    write_lines(
        site.imports / "shop.jsonl",
        [{"image": f"{n:03}.png", "id": f"p{n}", "n": n} for n in range(150)] + [{"image": "none.png"}],
    )
    first = load(site, collection, "shop", "shop.jsonl")
    assert counts(first) == (150, 0, 0)
    assert dict(first.counts.rejected) == {"IMAGE_UNSUPPORTED_FORMAT": 1, "METADATA_WITHOUT_PICTURE": 1}
    assert [(one.path, one.reason) for one in first.first_rejects] == [
        ("bad.png", "IMAGE_UNSUPPORTED_FORMAT"),
        ("shop.jsonl:151", "METADATA_WITHOUT_PICTURE"),
    ]
    assert first.sequence_number == 2, "two chunks, each a write of its own"
    picture = search_pb2.Query(image=(shop / "007.png").read_bytes())
    assert found(site.stubs, collection, 0, query=picture, top_k=1, filter="n < 10") == ["p7"]
    embedded = site.app.lanes.image.counts.items
    draw(shop / "007.png", 1000)
    second = load(site, collection, "shop", "shop.jsonl")
    assert counts(second) == (0, 1, 149)
    assert site.app.lanes.image.counts.items == embedded + 1, "what is stored is not embedded again"
    picture = search_pb2.Query(image=(shop / "007.png").read_bytes())
    assert found(site.stubs, collection, 0, query=picture, top_k=1) == ["p7"]


def test_vectors_of_both_kinds_of_file_are_stored_in_chunks(site: Site, collection: str) -> None:
    vectors = np.random.default_rng(0).standard_normal((1300, DIMENSION)).astype(np.float32)
    vectors[5] = np.nan
    np.save(site.imports / "v.npy", vectors)
    response = load(site, collection, "v.npy")
    assert counts(response) == (1299, 0, 0) and response.counts.normalised_vectors == 1299
    assert [(one.path, one.reason) for one in response.first_rejects] == [("v.npy:5", "VECTOR_NOT_USABLE")]
    assert response.sequence_number == 3, "no write is larger than 512 items"
    pyarrow.parquet.write_table(
        pyarrow.table({"id": ["7", "new"], "embedding": list(np.eye(DIMENSION, dtype=np.float32)[:2]), "n": [1, 2]}),
        site.imports / "v.parquet",
    )
    assert counts(load(site, collection, "v.parquet")) == (1, 1, 0)
    assert found(site.stubs, collection, 0, min_score=0.99) == ["7"]
    assert found(site.stubs, collection, 1, filter="n = 2") == ["new"]


def test_rejects_are_counted_in_full_and_the_first_hundred_told(site: Site, collection: str) -> None:
    np.save(site.imports / "zeros.npy", np.zeros((130, DIMENSION), np.float32))
    response = load(site, collection, "zeros.npy")
    assert dict(response.counts.rejected) == {"VECTOR_NOT_USABLE": 130}
    assert [one.path for one in response.first_rejects] == [f"zeros.npy:{n}" for n in range(100)]


def test_a_cancelled_import_keeps_its_chunks_and_goes_on_when_it_is_run_again(site: Site, collection: str) -> None:
    """The last picture is a pipe, so the import stands still in its third chunk until somebody writes to it."""
    for n in range(299):
        draw(site.imports / "many" / f"{n:03}.png", n)
    pipe = site.imports / "many/last.png"
    os.mkfifo(pipe)
    assert site.app.data is not None
    reader = site.app.data.collection(collection).reader
    started = start(site, collection, "many")
    while reader.counts().live < 256:
        assert not some_time_later(site.stubs, started).done
    assert failure(lambda: start(site, collection, "many")) == (grpc.StatusCode.ABORTED, "OPERATION_RUNNING")
    upsert(site.stubs, collection, item("between", 3))
    assert found(site.stubs, collection, 3, min_score=0.99) == ["between"], "searches and writes go on"
    site.stubs.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=started.name))
    pipe.write_bytes(b"")
    done = finished(site, started)
    assert reason_of(done.error) == "CANCELLED"
    progress = pb.ImportItemsMetadata()
    assert done.metadata.Unpack(progress) and progress.counts.created_items == 256
    pipe.unlink()
    draw(pipe, 299)
    assert counts(load(site, collection, "many")) == (44, 0, 256)


def some_time_later(stubs: Stubs, started: operations_pb2.Operation) -> operations_pb2.Operation:
    request = operations_pb2.WaitOperationRequest(name=started.name, timeout=duration_pb2.Duration(nanos=1_000_000))
    return stubs.operations.WaitOperation(request, timeout=30)


@pytest.mark.parametrize("path", ["", "/etc", "../data", "shop/../../data", ".hidden", "out"])
@pytest.mark.parametrize("field", ["path", "metadata_path"])
def test_an_import_stays_in_its_directory(site: Site, path: str, field: str) -> None:
    np.save(site.imports / "one.npy", np.eye(DIMENSION))
    if not (site.imports / "out").is_symlink():
        (site.imports / "out").symlink_to(site.imports.parent)
    if field == "metadata_path" and not path:
        return
    request = pb.ImportItemsRequest(**{"path": "one.npy", field: path})
    refused = failure(lambda: site.stubs.catalogue.ImportItems(request))
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "PATH_NOT_ALLOWED")


def test_imports_that_cannot_be(site: Site, collection: str, tmp_path: Path) -> None:
    assert failure(lambda: start(site, collection, "nothing")) == (grpc.StatusCode.NOT_FOUND, "PATH_NOT_FOUND")
    (site.imports / "notes.txt").write_text("no items")
    assert failure(lambda: start(site, collection, "notes.txt")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    )
    np.save(site.imports / "short.npy", np.eye(3))
    assert failure(lambda: start(site, "nowhere", "short.npy"))[1] == "COLLECTION_NOT_FOUND"
    (site.imports / "torn.npy").write_bytes(b"torn")
    for name, reason in (("short.npy", "VECTOR_WRONG_DIMENSION"), ("torn.npy", "INVALID_INPUT")):
        error = finished(site, start(site, collection, name)).error
        assert reason_of(error) == reason
        assert name in error.message and str(site.imports) not in error.message
    with Running(settings(tmp_path)) as running:
        channel, stubs = connected(running)
        with channel:
            refused = failure(lambda: stubs.catalogue.ImportItems(pb.ImportItemsRequest(path="a.npy")))
            assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED")


def test_a_shutdown_ends_an_import_and_what_it_had_stored_stays(tmp_path: Path) -> None:
    for n in range(400):
        draw(tmp_path / "in/many" / f"{n:03}.png", n)
    options = Settings(
        bundle=SAMPLE_BUNDLE, data=tmp_path / "data", imports=tmp_path / "in", listen="127.0.0.1:0", device="cpu"
    )
    with Running(options) as running:
        channel, stubs = connected(running)
        with channel:
            assert running.app.data is not None
            reader = running.app.data.collection("").reader
            started = start(Site(stubs, running.app, tmp_path / "in"), "default", "many")
            while reader.counts().live == 0:
                some_time_later(stubs, started)
    with Running(options) as running:
        channel, stubs = connected(running)
        with channel:
            kept = stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest()).items
            assert kept >= 128
            again = load(Site(stubs, running.app, tmp_path / "in"), "default", "many")
            assert counts(again) == (400 - kept, 0, kept)
