from datetime import UTC, datetime

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2

from clipsearch.client import (
    Aborted,
    AlreadyExists,
    Cancelled,
    Client,
    ClientError,
    DeadlineExceeded,
    Exported,
    FacetValue,
    FieldFacet,
    Imported,
    Internal,
    InvalidArgument,
    NewItem,
    NotFound,
    Overloaded,
    Progress,
    Rejected,
    RetryPolicy,
    Unavailable,
)
from clipsearch.v1 import catalogue_pb2, common_pb2
from tests.unit.client.fake_catalogue import CANCELLED, copying, exported, exporting, imported, rebuilding, rebuilt
from tests.unit.client.fake_server import DIMENSION, DRAINING, Fake, queue_full, status_of, vector_of

QUICK = RetryPolicy(initial_backoff_s=0.01, max_backoff_s=0.01)
STARTED = datetime.fromtimestamp(1_800_000_000, UTC)


def items(*names: str, **fields: object) -> list[NewItem]:
    return [NewItem(name, text=f"text {name}", **fields) for name in names]


def nested(levels: int) -> dict[str, object]:
    return {"d": nested(levels - 1)} if levels > 1 else {}


def test_upsert_tells_what_became_of_each_item(client: Client, tmp_path) -> None:
    catalogue = client.catalogue
    catalogue.upsert(items("same", "changed"))
    batch = [
        *items("same"),
        NewItem("blank", text=" "),
        NewItem("unread", image=tmp_path / "missing.png"),
        NewItem("changed", text="another text"),
        NewItem("odd", text="odd", metadata={"sizes": {1, 2}}),
        *items("new"),
    ]
    written = catalogue.upsert(batch)
    assert [r.reason if isinstance(r, ClientError) else r for r in written.results] == [
        "unchanged", "TEXT_EMPTY", "FILE_UNREADABLE", "updated", "METADATA_NOT_USABLE", "created",
    ]  # fmt: skip
    assert all(isinstance(r, InvalidArgument) for r in written.results if isinstance(r, ClientError))
    assert (written.sequence_number, written.timings.encode_us) == (2, 3)
    assert catalogue.get_item("new").sequence_number == 2


def test_facets_are_plain_values(client: Client, fake: Fake) -> None:
    client.catalogue.upsert(items("a"))
    found = client.catalogue.facets(fields=["price", "sold"], filter="price < 50", limit=2, timeout=5)
    assert found.sequence_number == 1
    assert found.fields == {
        "price": FieldFacet("price", (FacetValue(20, 2), FacetValue(0.5, 1)), 0.5, 20.0, 4, False),
        "sold": FieldFacet("sold", (FacetValue(True, 1),), None, None, 1, False),
    }
    assert found.fields["sold"].values[0].value is True
    assert fake.requests[-1] == catalogue_pb2.GetFacetsRequest(
        filter="price < 50", fields=["price", "sold"], value_limit=2
    )
    everything = client.catalogue.facets()
    assert list(everything.fields) == ["colour", "price", "sold"]
    assert everything.fields["colour"].more_values
    assert fake.requests[-1].value_limit == 20
    with pytest.raises(NotFound):
        client.catalogue.facets("nowhere")
    with pytest.raises(ValueError, match="limit must be at least 1"):
        client.catalogue.facets(limit=0)
    with pytest.raises(TypeError, match="fields must be several texts"):
        client.catalogue.facets(fields="price")


def test_each_kind_of_content_and_the_rest_is_sent(client: Client, fake: Fake, tmp_path) -> None:
    file = tmp_path / "p.png"
    file.write_bytes(b"file")
    metadata = {"title": "Hat", "price": 20, "sizes": [1.5, None, {"eu": True}]}
    client.catalogue.upsert(
        [
            NewItem("text", text="a hat", metadata=metadata, uri="https://example.org/hat"),
            NewItem("picture", image=b"bytes"),
            NewItem("pictures", image=[file, b"bytes"]),
            NewItem("none left", image=[]),
            NewItem("vector", vector=np.arange(3)),
            NewItem("kept"),
        ],
        collection="default",
        priority="interactive",
    )
    (request,) = fake.requests
    assert (request.collection, request.priority) == ("default", common_pb2.PRIORITY_INTERACTIVE)
    text, picture, pictures, none_left, vector, kept = request.items
    assert (text.text, text.uri) == ("a hat", "https://example.org/hat")
    assert client.catalogue.get_item("text").metadata == metadata
    assert list(picture.images.images) == [b"bytes"]
    assert list(pictures.images.images) == [b"file", b"bytes"]
    assert none_left.WhichOneof("content") == "images"
    assert list(vector.vector.float32.values) == [0, 1, 2]
    assert kept.WhichOneof("content") is None


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": {"b": [1, float("nan")]}}, r"metadata\.a\.b\[1\] is nan"),
        ({"n": 2**53 + 1}, r"metadata\.n is a whole number beyond 2\*\*53"),
        ({"when": datetime(2026, 1, 1)}, r"metadata\.when is of the type datetime"),
        ({"a": {3: "x"}}, r"metadata\.a has the key 3"),
        (nested(31), r"metadata(\.d)+ is nested deeper than 30 levels"),
    ],
)
def test_metadata_that_json_cannot_hold_costs_its_own_item(client: Client, metadata, message) -> None:
    bad, good = client.catalogue.upsert([NewItem("bad", text="b", metadata=metadata), *items("good")]).results
    assert good == "created"
    assert isinstance(bad, InvalidArgument)
    assert bad.reason == "METADATA_NOT_USABLE"
    with pytest.raises(InvalidArgument, match=message):
        raise bad


def test_deep_metadata_comes_back(client: Client) -> None:
    client.catalogue.upsert([NewItem("deep", text="d", metadata=nested(30))])
    assert client.catalogue.get_item("deep").metadata == nested(30)


def test_text_that_is_no_unicode_costs_its_own_item(client: Client) -> None:
    results = client.catalogue.upsert([NewItem("bad", text="\udc80"), *items("good")]).results
    assert isinstance(results[0], InvalidArgument)
    assert (results[0].reason, results[1]) == ("NOT_UNICODE", "created")


def test_items_that_make_no_message_raise_at_once() -> None:
    with pytest.raises(ValueError, match="at most one of text, image or vector, not text and image"):
        NewItem("a", text="a", image=b"b")
    with pytest.raises(ValueError, match="one dimension"):
        NewItem("a", vector=np.zeros((2, 2)))


def test_a_write_whose_answer_is_lost_is_done_once(fake: Fake) -> None:
    with Client(fake.target, retry=QUICK) as client:
        fake.catalogue.lost = [DRAINING, queue_full(0.01)]
        written = client.catalogue.upsert(items("a", "b"))
        fake.catalogue.lost = [DRAINING]
        deleted = client.catalogue.delete(["a", "nobody"])
    assert written.results == ("created", "created")
    assert written.sequence_number == 1
    assert (deleted.sequence_number, deleted.missing_ids) == (2, ("nobody",))
    upserts = [r.request_id for r in fake.requests if isinstance(r, catalogue_pb2.UpsertItemsRequest)]
    deletes = [r.request_id for r in fake.requests if isinstance(r, catalogue_pb2.DeleteItemsRequest)]
    assert len(upserts) == 3
    assert len(deletes) == 2
    assert len(set(upserts)) == len(set(deletes)) == 1
    assert len({*upserts, *deletes}) == 2


def test_the_callers_request_id_makes_a_later_repetition_safe(client: Client, fake: Fake) -> None:
    fake.catalogue.lost = [status_of(grpc.StatusCode.INTERNAL, "disk", "STORAGE_FAILED")]
    with pytest.raises(Internal):
        client.catalogue.upsert(items("a"), request_id="mine")
    assert client.catalogue.upsert(items("a"), request_id="mine").results == ("created",)
    with pytest.raises(InvalidArgument) as caught:
        client.catalogue.upsert(items("b"), request_id="mine")
    assert (caught.value.reason, caught.value.field) == ("REQUEST_ID_REUSED", "request_id")


def test_what_must_not_be_done_twice_is_not_repeated(fake: Fake) -> None:
    fake.catalogue.operation = [rebuilding("reading", 0)]
    with Client(fake.target, retry=QUICK) as client:
        for call in (
            lambda: client.catalogue.create_collection("new"),
            lambda: client.catalogue.delete_collection("default"),
            client.catalogue.rebuild_index,
            lambda: client.catalogue.export_items("a.parquet"),
        ):
            fake.failures = [DRAINING]
            with pytest.raises(Unavailable):
                call()
    assert len(fake.requests) == 4
    assert list(fake.catalogue.collections) == ["default"]


def test_deleted_items_are_gone(client: Client) -> None:
    client.catalogue.upsert(items("a", "b"))
    deleted = client.catalogue.delete(iter(["a", "nobody"]))
    assert (deleted.sequence_number, deleted.missing_ids) == (2, ("nobody",))
    with pytest.raises(NotFound) as caught:
        client.catalogue.get_item("a")
    assert caught.value.reason == "ITEM_NOT_FOUND"


def test_one_text_is_not_several_ids(client: Client, fake: Fake) -> None:
    with pytest.raises(TypeError, match=r"ids must be several texts, not one: \['abc'\]"):
        client.catalogue.delete("abc")
    assert fake.requests == []


@pytest.mark.parametrize("transport", ["float32", "float16"])
def test_an_item_with_and_without_its_embedding(fake: Fake, transport) -> None:
    with Client(fake.target, transport=transport) as client:
        client.catalogue.upsert(items("a", metadata={"title": "A"}, uri="u"))
        plain = client.catalogue.get_item("a")
        full = client.catalogue.get_item("a", with_embedding=True)
    assert (plain.id, plain.metadata, plain.uri, plain.sequence_number) == ("a", {"title": "A"}, "u", 1)
    assert plain.vector is None
    assert full.vector is not None
    assert full.vector.dtype == np.float32
    np.testing.assert_allclose(full.vector, vector_of(b"text a"), atol=1e-3)


def test_list_reads_all_pages_as_they_are_needed(client: Client, fake: Fake) -> None:
    client.catalogue.upsert(
        [NewItem(str(n), text="t", metadata={"title": "odd" if n % 2 else "even"}) for n in range(7)]
    )
    fake.requests.clear()
    listed = client.catalogue.list_items(filter='title = "even"', page_size=2)
    assert fake.requests == []
    assert next(listed).id == "0"
    assert len(fake.requests) == 1
    assert [item.id for item in listed] == ["2", "4", "6"]
    assert [(r.page_size, r.page_token, r.filter) for r in fake.requests] == [
        (2, "", 'title = "even"'),
        (2, "2", 'title = "even"'),
    ]
    assert [item.vector.shape for item in client.catalogue.list_items(with_embedding=True)] == [(DIMENSION,)] * 7
    assert list(client.catalogue.list_items(filter='title = "none"')) == []


def test_collections_are_made_listed_and_deleted(client: Client) -> None:
    catalogue = client.catalogue
    catalogue.create_collection("shop")
    with pytest.raises(AlreadyExists) as caught:
        catalogue.create_collection("shop")
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_EXISTS")
    assert catalogue.upsert(items("a"), collection="shop").results == ("created",)
    assert [item.id for item in catalogue.list_items(collection="shop")] == ["a"]
    assert list(catalogue.list_items()) == []
    assert catalogue.get_item("a", collection="shop").id == "a"
    assert catalogue.delete(["a"], collection="shop").missing_ids == ()
    assert catalogue.collections() == ["default", "shop"]
    catalogue.delete_collection("shop")
    assert catalogue.collections() == ["default"]
    with pytest.raises(NotFound) as missing:
        catalogue.stats("shop")
    assert missing.value.reason == "COLLECTION_NOT_FOUND"


def test_stats(client: Client) -> None:
    assert client.catalogue.stats().index is None
    client.catalogue.upsert(items("a", "b"))
    stats = client.catalogue.stats("default")
    assert (stats.items, stats.tombstones, stats.delta_items, stats.sequence_number) == (2, 2, 2, 1)
    assert (stats.dimension, stats.disk_bytes, stats.damaged_rows) == (DIMENSION, 4096, 0)
    index = stats.index
    assert index is not None
    assert (index.kind, index.size, index.nlist, index.code_bytes, index.nprobe) == ("ivfpq", 1000, 16, 8, 4)
    assert (index.image_recall, index.text_recall, index.build_time) == (0.97, None, STARTED)
    assert (index.sequence_number, index.trained_sequence_number) == (7, 5)


def test_a_rebuild_is_watched_to_its_end(client: Client, fake: Fake) -> None:
    fake.catalogue.operation = [rebuilding("training", 4), rebuilding("adding", 5), rebuilt()]
    rebuild = client.catalogue.rebuild_index()
    assert rebuild.name == "operations/rebuild-default-1"
    assert rebuild.progress() == Progress("default", "training", 4, 9, STARTED, done=False)
    assert rebuild.wait(timeout=20).size == 1000
    assert rebuild.progress().done
    waits = [request.timeout.seconds for request in fake.requests if type(request).__name__ == "WaitOperationRequest"]
    assert len(waits) == 3
    assert all(15 < seconds <= 20 for seconds in waits)


def test_all_operations_are_listed_latest_first(client: Client, fake: Fake) -> None:
    unknown = operations_pb2.Operation(name="operations/of-a-newer-server")
    unknown.metadata.Pack(CANCELLED)
    fake.catalogue.operation = [rebuilding("training", 4), rebuilt(CANCELLED), imported(), copying(), unknown]
    listed = client.catalogue.operations()
    assert [one.kind for one in listed] == ["snapshot", "rebuild", "rebuild", "import"]
    snapshot, running, cancelled, loaded = listed
    assert (snapshot.name, snapshot.progress.collection) == ("operations/snapshot-monday-1", "")
    assert running.progress == Progress("default", "training", 4, 9, STARTED, done=False)
    assert isinstance(cancelled.error, Cancelled)
    assert loaded.progress.done
    assert (running.error, loaded.error) == (None, None)


def test_an_operation_is_cancelled_by_its_name(client: Client, fake: Fake) -> None:
    fake.catalogue.operation = [rebuilding("training", 4)]
    client.catalogue.cancel_operation("operations/rebuild-default-1")
    assert fake.requests[0].name == "operations/rebuild-default-1"
    (listed,) = client.catalogue.operations()
    assert isinstance(listed.error, Cancelled)


def test_a_rebuild_that_takes_longer_than_one_call_may(client: Client, fake: Fake) -> None:
    fake.catalogue.operation = [rebuilding("training", 4), rebuilt()]
    client.catalogue.rebuild_index().wait()
    assert fake.requests[1].timeout.seconds == 30


@pytest.mark.parametrize(
    ("train", "training"),
    [(False, catalogue_pb2.REBUILD_TRAINING_WHERE_NEEDED), (True, catalogue_pb2.REBUILD_TRAINING_ALWAYS)],
)
def test_a_rebuild_trains_if_that_is_asked_for(client: Client, fake: Fake, train: bool, training: int) -> None:
    fake.catalogue.operation = [rebuilt()]
    client.catalogue.rebuild_index("default", train=train)
    (request,) = fake.requests
    assert (request.collection, request.training) == ("default", training)


def test_a_rebuild_that_is_cancelled_or_fails(client: Client, fake: Fake) -> None:
    fake.catalogue.operation = [rebuilding("training", 4)]
    rebuild = client.catalogue.rebuild_index()
    rebuild.cancel()
    with pytest.raises(Cancelled) as caught:
        rebuild.wait(timeout=20)
    assert caught.value.reason == "CANCELLED"
    fake.catalogue.operation = [rebuilt(status_of(grpc.StatusCode.INTERNAL, "broken", "COMPUTE_FAILED"))]
    with pytest.raises(Internal, match="broken"):
        client.catalogue.rebuild_index().wait(timeout=20)


def test_an_export_is_watched_to_its_end(client: Client, fake: Fake) -> None:
    fake.catalogue.operation = [exporting(4), exporting(5), exported()]
    export = client.catalogue.export_items("all.parquet", collection="default", overwrite=True)
    request = fake.requests[0]
    assert (request.path, request.collection, request.overwrite) == ("all.parquet", "default", True)
    assert export.progress() == Progress("default", "exporting", 4, 9, STARTED, done=False)
    assert export.wait(timeout=20) == Exported(8, 7, 1, ("bad",), 4096)


def test_an_import_tells_what_it_left_out(client: Client, fake: Fake) -> None:
    fake.catalogue.operation = [imported()]
    done = client.catalogue.import_items("v.parquet", metadata_path="v.csv").wait(timeout=20)
    assert (fake.requests[0].path, fake.requests[0].metadata_path) == ("v.parquet", "v.csv")
    rejects = (Rejected("v.parquet:6", "ID_DUPLICATE", "twice"),)
    assert done == Imported(3, 2, 1, {"ID_DUPLICATE": 1}, rejects, 9)


def test_waiting_for_a_rebuild_ends_in_time(client: Client, fake: Fake) -> None:
    fake.catalogue.operation = [rebuilding("training", 4)]
    rebuild = client.catalogue.rebuild_index()
    with pytest.raises(DeadlineExceeded, match=r"not over within 0\.05 s; it goes on"):
        rebuild.wait(timeout=0.05)
    with fake.hanging(), pytest.raises(DeadlineExceeded, match="it goes on"):
        rebuild.wait(timeout=0.05)
    with pytest.raises(ValueError, match="timeout"):
        rebuild.wait(timeout=0)


def test_one_rebuild_at_a_time(client: Client, fake: Fake) -> None:
    with pytest.raises(Aborted) as caught:
        client.catalogue.rebuild_index("default")
    assert caught.value.reason == "REBUILD_RUNNING"


def test_operation_of_another_kind(client: Client, fake: Fake) -> None:
    strange = rebuilt()
    strange.response.Pack(CANCELLED)
    fake.catalogue.operation = [strange]
    with pytest.raises(Internal, match=r"google\.rpc\.Status, which this client does not know"):
        client.catalogue.rebuild_index().wait(timeout=20)


def test_a_full_server_is_told_after_the_last_attempt(fake: Fake) -> None:
    fake.failures = [queue_full(0.01)] * 2
    policy = RetryPolicy(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.01)
    with Client(fake.target, retry=policy) as client, pytest.raises(Overloaded):
        client.catalogue.upsert(items("a"))
    assert len({request.request_id for request in fake.requests}) == 1
