"""CatalogueService over the wire: a server with an empty data directory of its own, and the sample model."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from clipsearch.settings import Settings
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import common_pb2, search_pb2
from clipsearch.v1.catalogue_pb2_grpc import CatalogueServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub

from .support import SAMPLE_BUNDLE, Running

DIMENSION = 128
CREATED, UPDATED, UNCHANGED = pb.UPSERT_OUTCOME_CREATED, pb.UPSERT_OUTCOME_UPDATED, pb.UPSERT_OUTCOME_UNCHANGED


@dataclass(frozen=True)
class Stubs:
    catalogue: CatalogueServiceStub
    search: SearchServiceStub
    operations: Any


def settings(data: Path) -> Settings:
    return Settings(bundle=SAMPLE_BUNDLE, data=data, listen="127.0.0.1:0", device="cpu", max_batch_items=64)


def connected(running: Running) -> tuple[grpc.Channel, Stubs]:
    channel = grpc.insecure_channel(running.address)
    return channel, Stubs(
        CatalogueServiceStub(channel), SearchServiceStub(channel), operations_pb2_grpc.OperationsStub(channel)
    )


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    with Running(settings(tmp_path_factory.mktemp("data"))) as running:
        channel, stubs = connected(running)
        with channel:
            yield stubs


@pytest.fixture
def collection(stubs: Stubs, request: pytest.FixtureRequest) -> str:
    """A collection of the test's own."""
    name = request.node.name.lower().replace("[", "-").replace("]", "")[:60]
    stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection=name))
    return name


def axis(n: int) -> common_pb2.Embedding:
    """The n-th unit vector."""
    return common_pb2.Embedding(float32=common_pb2.FloatVector(values=np.eye(DIMENSION)[n].tolist()))


def item(item_id: str, n: int, **metadata: Any) -> pb.UpsertItem:
    message = pb.UpsertItem(id=item_id, vector=axis(n))
    message.metadata.update(metadata)
    return message


def upsert(stubs: Stubs, collection: str, *items: pb.UpsertItem, **fields: Any) -> pb.UpsertItemsResponse:
    response: pb.UpsertItemsResponse = stubs.catalogue.UpsertItems(
        pb.UpsertItemsRequest(collection=collection, items=items, **fields), timeout=30
    )
    return response


def outcomes(response: pb.UpsertItemsResponse) -> list[int | str]:
    return [r.outcome if r.HasField("outcome") else reason_of(r.error) for r in response.results]


def reason_of(status: Any) -> str:
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    raise AssertionError(f"an error without ErrorInfo: {status}")


def search(stubs: Stubs, collection: str, n: int, **fields: Any) -> search_pb2.SearchResponse:
    fields.setdefault("query", search_pb2.Query(vector=axis(n)))
    response: search_pb2.SearchResponse = stubs.search.Search(
        search_pb2.SearchRequest(collection=collection, **fields), timeout=30
    )
    return response


def found(stubs: Stubs, collection: str, n: int, **fields: Any) -> list[str]:
    return [hit.id for hit in search(stubs, collection, n, **fields).hits]


def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None
    return caught.value.code(), reason_of(status)


def jpeg(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def test_what_is_written_is_found_replaced_and_gone_again(stubs: Stubs, collection: str) -> None:
    first = upsert(stubs, collection, item("a", 0), item("b", 1))
    assert outcomes(first) == [CREATED, CREATED]
    hits = search(stubs, collection, 0).hits
    assert (hits[0].id, round(hits[0].score, 3)) == ("a", 1.0)
    second = upsert(stubs, collection, item("a", 2), item("b", 1))
    assert outcomes(second) == [UPDATED, UNCHANGED]
    assert second.sequence_number > first.sequence_number
    assert search(stubs, collection, 2, top_k=1).hits[0].id == "a"
    assert search(stubs, collection, 0, min_score=0.5).hits == [], "the old vector is gone"
    gone = stubs.catalogue.DeleteItems(pb.DeleteItemsRequest(collection=collection, ids=["a", "never"]))
    assert list(gone.missing_ids) == ["never"]
    assert found(stubs, collection, 2) == ["b"]
    assert search(stubs, collection, 2).sequence_number == gone.sequence_number


def test_items_of_pictures_texts_and_vectors_are_found_by_what_they_are(stubs: Stubs, collection: str) -> None:
    red, blue = jpeg((220, 20, 20)), jpeg((20, 20, 220))
    response = upsert(
        stubs,
        collection,
        pb.UpsertItem(id="red", images=pb.Images(images=[red])),
        pb.UpsertItem(id="both", images=pb.Images(images=[red, blue])),
        pb.UpsertItem(id="words", text="a green dress"),
        item("axis", 7),
    )
    assert outcomes(response) == [CREATED] * 4
    assert response.timings.encode_us > 0
    assert found(stubs, collection, 0, query=search_pb2.Query(image=red), top_k=2) == ["red", "both"]
    assert found(stubs, collection, 0, query=search_pb2.Query(text="a green dress"), top_k=1) == ["words"]
    one, two, mean = (
        np.array(
            stubs.catalogue.GetItem(
                pb.GetItemRequest(collection=collection, id=i, view=pb.ITEM_VIEW_FULL)
            ).item.embedding.float32.values
        )
        for i in ("red", "both", "both")
    )
    assert np.linalg.norm(mean) == pytest.approx(1.0, abs=1e-3)
    assert 0.5 < float(one @ two) < 0.9999
    again = upsert(stubs, collection, pb.UpsertItem(id="red", images=pb.Images(images=[red])))
    assert outcomes(again) == [UNCHANGED], "the same bytes are the same content, however they were batched"


def test_a_bad_item_fails_alone(stubs: Stubs, collection: str) -> None:
    short = common_pb2.Embedding(float32=common_pb2.FloatVector(values=[1.0]))
    nothing = common_pb2.Embedding(float32=common_pb2.FloatVector(values=[0.0] * DIMENSION))
    broken = common_pb2.Embedding(float32=common_pb2.FloatVector(values=[float("nan")] * DIMENSION))
    long = pb.UpsertItem(id="large", vector=axis(0))
    long.metadata.update({"text": "x" * 70_000})
    nan = item("not json", 3)
    nan.metadata.fields["price"].number_value = float("nan")
    response = upsert(
        stubs,
        collection,
        nan,
        item("good", 0),
        pb.UpsertItem(id="", vector=axis(0)),
        pb.UpsertItem(id="short", vector=short),
        pb.UpsertItem(id="zero", vector=nothing),
        pb.UpsertItem(id="nan", vector=broken),
        pb.UpsertItem(id="nothing"),
        pb.UpsertItem(id="picture", images=pb.Images(images=[jpeg((1, 2, 3)), b"no picture"])),
        pb.UpsertItem(id="no pictures", images=pb.Images()),
        pb.UpsertItem(id="blank", text=" "),
        long,
        item("good", 1),
        item("also good", 2),
    )
    assert outcomes(response) == [
        "METADATA_NOT_USABLE",
        CREATED,
        "ID_NOT_USABLE",
        "VECTOR_WRONG_DIMENSION",
        "VECTOR_NOT_USABLE",
        "VECTOR_NOT_USABLE",
        "INPUT_MISSING",
        "IMAGE_UNSUPPORTED_FORMAT",
        "INPUT_MISSING",
        "TEXT_EMPTY",
        "METADATA_NOT_USABLE",
        "ID_DUPLICATE",
        CREATED,
    ]
    assert sorted(found(stubs, collection, 0)) == ["also good", "good"]


def test_more_pictures_than_a_batch_takes_are_refused_by_name(stubs: Stubs, collection: str) -> None:
    many = pb.UpsertItem(id="album", images=pb.Images(images=[jpeg((1, 1, 1))] * 65))
    with pytest.raises(grpc.RpcError, match="65 items, over the limit of 64"):
        upsert(stubs, collection, many)


def test_a_retry_with_its_request_id_writes_once(stubs: Stubs, collection: str) -> None:
    picture = pb.UpsertItem(id="p", images=pb.Images(images=[jpeg((9, 99, 9))]))
    first = upsert(stubs, collection, picture, request_id="r1")
    upsert(stubs, collection, item("p", 3))
    second = upsert(stubs, collection, picture, request_id="r1")
    assert (outcomes(second), second.sequence_number) == (outcomes(first), first.sequence_number)
    assert found(stubs, collection, 3, min_score=0.9) == ["p"], "the later write stands"
    assert failure(lambda: upsert(stubs, collection, item("q", 1), request_id="r1")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED",
    )


def test_metadata_alone_can_change(stubs: Stubs, collection: str) -> None:
    upsert(stubs, collection, item("a", 5, price=10))
    change = pb.UpsertItem(id="a", uri="https://example.org/a")
    change.metadata.update({"price": 12, "tags": ["new"]})
    assert outcomes(upsert(stubs, collection, change)) == [UPDATED]
    got = stubs.catalogue.GetItem(pb.GetItemRequest(collection=collection, id="a")).item
    assert (got.uri, dict(got.metadata)["price"]) == ("https://example.org/a", 12.0)
    assert found(stubs, collection, 5, filter="price = 12", min_score=0.9) == ["a"]


def test_filters_exclusions_and_scores_limit_what_is_found(stubs: Stubs, collection: str) -> None:
    upsert(stubs, collection, *(item(f"i{n}", n, price=n, kind="even" if n % 2 == 0 else "odd") for n in range(10)))
    assert found(stubs, collection, 3, filter='kind = "odd" AND price < 6') == ["i3", "i1", "i5"]
    upsert(stubs, collection, item("i3", 3, price=3, kind="even"), item("i11", 3, price=1, kind="odd"))
    assert found(stubs, collection, 3, filter='kind = "odd" AND price < 6', top_k=1) == ["i11"], "kept right by writes"
    stubs.catalogue.DeleteItems(pb.DeleteItemsRequest(collection=collection, ids=["i11"]))
    assert found(stubs, collection, 3, filter='kind = "odd" AND price < 6') == ["i1", "i5"]
    others = found(stubs, collection, 3, exclude_ids=["i3", "nobody"], top_k=9)
    assert sorted(others) == [f"i{n}" for n in range(10) if n != 3]
    assert found(stubs, collection, 3, min_score=0.5) == ["i3"]
    code, reason = failure(lambda: search(stubs, collection, 3, filter="price <"))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FILTER_MALFORMED")


def test_composed_queries_add_up_their_terms(stubs: Stubs, collection: str) -> None:
    upsert(stubs, collection, *(item(f"i{n}", n) for n in range(4)))
    blend = pb.UpsertItem(id="blend")
    blend.vector.float32.values.extend((np.eye(DIMENSION)[0] + np.eye(DIMENSION)[1]).tolist())
    upsert(stubs, collection, blend)

    def terms(*pairs: tuple[search_pb2.Query, float]) -> dict[str, Any]:
        return {"query": None, "terms": [search_pb2.WeightedQuery(query=q, weight=w) for q, w in pairs]}

    one, two = search_pb2.Query(vector=axis(0)), search_pb2.Query(item_id="i1")
    assert found(stubs, collection, 0, **terms((one, 1.0), (two, 1.0)))[0] == "blend"
    away = search(stubs, collection, 0, **terms((one, 1.0), (two, -1.0))).hits
    assert (away[0].id, away[-1].id) == ("i0", "i1")
    assert away[-1].score < -0.5
    for pairs, reason in (
        (((one, 1.0), (one, -1.0)), "VECTOR_NOT_USABLE"),
        (((one, 0.0),), "WEIGHT_NOT_USABLE"),
        (((search_pb2.Query(), 1.0),), "INPUT_MISSING"),
    ):
        assert failure(lambda pairs=pairs: search(stubs, collection, 0, **terms(*pairs)))[1] == reason


def test_a_search_can_require_a_sequence_number(stubs: Stubs, collection: str) -> None:
    seq = upsert(stubs, collection, item("a", 0)).sequence_number
    assert found(stubs, collection, 0, min_sequence_number=seq) == ["a"]
    assert failure(lambda: search(stubs, collection, 0, min_sequence_number=seq + 1)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SEQUENCE_NOT_REACHED",
    )


def test_lists_come_in_pages_by_id(stubs: Stubs, collection: str) -> None:
    upsert(stubs, collection, *(item(f"i{n:02}", n, half=n % 2) for n in range(25)))

    def pages(**fields: Any) -> list[list[str]]:
        token, pages = "", []
        while not pages or token:
            request = pb.ListItemsRequest(collection=collection, page_size=10, page_token=token, **fields)
            page = stubs.catalogue.ListItems(request)
            pages.append([one.id for one in page.items])
            token = page.next_page_token
        return pages

    assert [len(page) for page in pages()] == [10, 10, 5]
    assert [one for page in pages() for one in page] == [f"i{n:02}" for n in range(25)]
    assert pages(filter="half = 1") == [[f"i{n:02}" for n in range(1, 20, 2)], ["i21", "i23"]]
    token = stubs.catalogue.ListItems(pb.ListItemsRequest(collection=collection, page_size=5)).next_page_token
    for bad in ("nonsense", "!", token[:-4]):
        request = pb.ListItemsRequest(collection=collection, page_token=bad, filter="half = 1")
        assert failure(lambda request=request: stubs.catalogue.ListItems(request))[1] == "PAGE_TOKEN_NOT_USABLE"


def test_collections_are_apart(stubs: Stubs) -> None:
    for name in ("left", "right"):
        stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection=name))
        upsert(stubs, name, item(f"only {name}", 0))
    names = stubs.catalogue.ListCollections(pb.ListCollectionsRequest()).collections
    assert {"default", "left", "right"} <= set(names)
    assert found(stubs, "left", 0) == ["only left"]
    assert failure(lambda: stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection="left"))) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "COLLECTION_EXISTS",
    )
    asked = pb.GetCollectionStatsRequest(collection="left")
    before = stubs.catalogue.GetCollectionStats(asked).identity
    assert before == stubs.catalogue.GetCollectionStats(asked).identity != ""
    stubs.catalogue.DeleteCollection(pb.DeleteCollectionRequest(collection="left"))
    stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection="left"))
    assert stubs.catalogue.GetCollectionStats(asked).identity not in {"", before}, "it is another collection"
    stubs.catalogue.DeleteCollection(pb.DeleteCollectionRequest(collection="left"))
    gone = (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    assert failure(lambda: search(stubs, "left", 0)) == gone
    assert failure(lambda: upsert(stubs, "left", item("a", 0))) == gone
    assert failure(lambda: stubs.catalogue.CreateCollection(pb.CreateCollectionRequest(collection="../up")))[1] == (
        "COLLECTION_NAME_NOT_USABLE"
    )
    assert found(stubs, "right", 0) == ["only right"]


def test_a_rebuild_is_an_operation_and_changes_no_answer(stubs: Stubs, collection: str) -> None:
    upsert(stubs, collection, *(item(f"i{n}", n) for n in range(20)))
    upsert(stubs, collection, item("i3", 50))
    stubs.catalogue.DeleteItems(pb.DeleteItemsRequest(collection=collection, ids=["i4"]))
    before = [found(stubs, collection, n, top_k=5) for n in range(20)]
    started = stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest(collection=collection))
    wait = operations_pb2.WaitOperationRequest(name=started.name, timeout=duration_pb2.Duration(seconds=30))
    done = stubs.operations.WaitOperation(wait, timeout=40)
    assert done.done and not done.HasField("error"), done
    response = pb.RebuildIndexResponse()
    assert done.response.Unpack(response)
    assert (response.index.kind, response.index.size) == ("flat", 19)
    progress = pb.RebuildIndexMetadata()
    assert done.metadata.Unpack(progress) and progress.collection == collection
    stats = stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest(collection=collection))
    assert (stats.items, stats.tombstones, stats.delta_items, stats.index.size) == (19, 2, 0, 19)
    assert not stats.index.HasField("trained_sequence_number"), "an exact index is not trained"
    assert [found(stubs, collection, n, top_k=5) for n in range(20)] == before
    assert started.name in [
        one.name for one in stubs.operations.ListOperations(operations_pb2.ListOperationsRequest()).operations
    ]
    stubs.operations.DeleteOperation(operations_pb2.DeleteOperationRequest(name=started.name))
    lost = operations_pb2.GetOperationRequest(name=started.name)
    assert failure(lambda: stubs.operations.GetOperation(lost))[1] == "OPERATION_NOT_FOUND"


def test_an_unknown_way_to_train_is_refused(stubs: Stubs, collection: str) -> None:
    request = pb.RebuildIndexRequest(collection=collection, training=7)  # type: ignore[arg-type]
    code, reason = failure(lambda: stubs.catalogue.RebuildIndex(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ENUM_VALUE_UNKNOWN")


def test_everything_is_there_after_a_restart_with_and_without_its_index(tmp_path: Path) -> None:
    def answers(stubs: Stubs) -> list[list[str]]:
        # Those at a right angle all score 0, and which of them come is the index's choice.
        return [found(stubs, "", n, min_score=0.5) for n in range(12)]

    def restarted(before: list[list[str]] | None, change: bool) -> list[list[str]]:
        with Running(settings(tmp_path)) as running:
            channel, stubs = connected(running)
            with channel:
                if before is not None:
                    assert answers(stubs) == before
                if change:
                    upsert(stubs, "", *(item(f"i{n}", n) for n in range(10)))
                    name = stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest()).name
                    stubs.operations.WaitOperation(operations_pb2.WaitOperationRequest(name=name), timeout=30)
                    upsert(stubs, "", item("i2", 11), item("late", 10))
                    stubs.catalogue.DeleteItems(pb.DeleteItemsRequest(ids=["i5"]))
                return answers(stubs)

    first = restarted(None, change=True)
    assert restarted(first, change=False) == first
    manifest = next((tmp_path / "default").glob("index-*")) / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])
    assert restarted(first, change=False) == first


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    from clipsearch.app import App
    from clipsearch.errors import UnusableIndex

    with Running(settings(tmp_path)), pytest.raises(UnusableIndex, match="another process"):
        App(settings(tmp_path))


def test_without_data_the_catalogue_says_so(tmp_path: Path) -> None:
    with Running(Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu")) as running:
        channel, stubs = connected(running)
        with channel:
            assert failure(lambda: upsert(stubs, "", item("a", 0))) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "NO_INDEX",
            )
