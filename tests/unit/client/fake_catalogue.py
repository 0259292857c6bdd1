"""The fake server's catalogue: a real one in memory, which can lose answers, and an operation that goes as told."""

import threading
from dataclasses import dataclass, field

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2, struct_pb2, timestamp_pb2
from google.rpc import status_pb2

from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import catalogue_pb2_grpc, common_pb2
from tests.unit.client.fake_answers import DIMENSION, EMPTY_TEXT, NO_SUCH_ITEM, abort, embedding, status_of

NO_SUCH_COLLECTION = status_of(grpc.StatusCode.NOT_FOUND, "no such collection", "COLLECTION_NOT_FOUND")
COLLECTION_EXISTS = status_of(grpc.StatusCode.ALREADY_EXISTS, "it is there", "COLLECTION_EXISTS")
REQUEST_ID_REUSED = status_of(
    grpc.StatusCode.INVALID_ARGUMENT, "used before", "REQUEST_ID_REUSED", field_path="request_id"
)
ID_DUPLICATE = status_of(grpc.StatusCode.INVALID_ARGUMENT, "twice", "ID_DUPLICATE", field_path="items[1].id")
REBUILD_RUNNING = status_of(grpc.StatusCode.ABORTED, "one runs", "REBUILD_RUNNING")
CANCELLED = status_of(grpc.StatusCode.CANCELLED, "stopped", "CANCELLED")
OPERATION = "operations/rebuild-default-1"
STARTED = timestamp_pb2.Timestamp(seconds=1_800_000_000)
INDEX = pb.IndexStats(
    sequence_number=7,
    kind="ivfpq",
    size=1000,
    nlist=16,
    code_bytes=8,
    nprobe=4,
    image_recall=0.97,
    build_time=STARTED,
    trained_sequence_number=5,
)


@dataclass
class FakeCatalogue:
    """The items of each collection, in the order last written, and how writes and the operation go."""

    collections: dict[str, dict[str, pb.UpsertItem]] = field(default_factory=lambda: {"default": {}})
    written_at: dict[str, int] = field(default_factory=dict)
    sequence_number: int = 0
    answered: dict[str, tuple[bytes, object]] = field(default_factory=dict)
    """Request and answer of each request id."""
    lost: list[status_pb2.Status] = field(default_factory=list)
    """One for each coming write, which is done and then fails with it."""
    meet: threading.Barrier | None = None
    """Upserts wait for each other here, so that only as many at once as it takes get through."""
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    operation: list[operations_pb2.Operation] = field(default_factory=list)
    """What is told of the operation that runs, one at a time; the last one stays."""

    def upsert(self, request: pb.UpsertItemsRequest, items: dict[str, pb.UpsertItem]) -> pb.UpsertItemsResponse:
        seen: set[str] = set()
        response = pb.UpsertItemsResponse(timings=common_pb2.Timings(encode_us=3, total_us=8))
        self.sequence_number += 1
        for item in request.items:
            if item.WhichOneof("content") == "text" and not item.text.strip():
                response.results.add(error=EMPTY_TEXT)
            elif item.id in seen:
                response.results.add(error=ID_DUPLICATE)
            elif items.get(item.id) == item:
                response.results.add(outcome=pb.UPSERT_OUTCOME_UNCHANGED)
            else:
                known = items.pop(item.id, None)
                items[item.id] = item
                self.written_at[item.id] = self.sequence_number
                outcome = pb.UPSERT_OUTCOME_CREATED if known is None else pb.UPSERT_OUTCOME_UPDATED
                response.results.add(outcome=outcome)
            seen.add(item.id)
        response.sequence_number = self.sequence_number
        return response

    def delete(self, request: pb.DeleteItemsRequest, items: dict[str, pb.UpsertItem]) -> pb.DeleteItemsResponse:
        missing = [item_id for item_id in request.ids if items.pop(item_id, None) is None]
        self.sequence_number += 1
        return pb.DeleteItemsResponse(sequence_number=self.sequence_number, missing_ids=missing)


def rebuilding(stage: str, done_steps: int) -> operations_pb2.Operation:
    operation = operations_pb2.Operation(name=OPERATION)
    operation.metadata.Pack(
        pb.RebuildIndexMetadata(
            collection="default", stage=stage, done_steps=done_steps, total_steps=9, start_time=STARTED
        )
    )
    return operation


def rebuilt(error: status_pb2.Status | None = None) -> operations_pb2.Operation:
    operation = rebuilding("swapping", 9)
    operation.done = True
    if error is None:
        operation.response.Pack(pb.RebuildIndexResponse(index=INDEX))
    else:
        operation.error.CopyFrom(error)
    return operation


def imported() -> operations_pb2.Operation:
    operation = operations_pb2.Operation(name="operations/import-default-1", done=True)
    operation.metadata.Pack(pb.ImportItemsMetadata(collection="default", stage="embedding", start_time=STARTED))
    counts = pb.ImportCounts(created_items=3, updated_items=2, unchanged_items=1, rejected={"ID_DUPLICATE": 1})
    reject = pb.ImportReject(path="v.parquet:6", reason="ID_DUPLICATE", message="twice")
    operation.response.Pack(pb.ImportItemsResponse(counts=counts, first_rejects=[reject], sequence_number=9))
    return operation


def copying() -> operations_pb2.Operation:
    operation = operations_pb2.Operation(name="operations/snapshot-monday-1")
    later = timestamp_pb2.Timestamp(seconds=STARTED.seconds + 60)
    metadata = pb.SnapshotMetadata(name="monday", stage="copying", done_steps=1, total_steps=2, start_time=later)
    operation.metadata.Pack(metadata)
    return operation


def exporting(done_steps: int) -> operations_pb2.Operation:
    operation = operations_pb2.Operation(name="operations/export-items-1")
    operation.metadata.Pack(
        pb.ExportItemsMetadata(
            collection="default", stage="exporting", done_steps=done_steps, total_steps=9, start_time=STARTED
        )
    )
    return operation


def exported() -> operations_pb2.Operation:
    operation = exporting(9)
    operation.done = True
    response = pb.ExportItemsResponse(
        items=8, sequence_number=7, damaged_items=1, first_damaged_ids=["bad"], file_bytes=4096
    )
    operation.response.Pack(response)
    return operation


def title_of(item: pb.UpsertItem) -> str:
    return item.metadata.fields["title"].string_value if "title" in item.metadata.fields else ""


def facet_value(count: int, **value: str | float | bool) -> pb.FacetValue:
    return pb.FacetValue(value=struct_pb2.Value(**value), count=count)


class Catalogue(catalogue_pb2_grpc.CatalogueServiceServicer):
    def __init__(self, fake) -> None:
        self.fake = fake
        self.state: FakeCatalogue = fake.catalogue

    def items(self, request, context) -> dict[str, pb.UpsertItem]:
        self.fake.seen(request, context)
        name = request.collection or "default"
        if name not in self.state.collections:
            abort(context, NO_SUCH_COLLECTION)
        return self.state.collections[name]

    def written(self, request, context, write):
        """Do a write once for each request id, and answer or lose the answer."""
        state = self.state
        items = self.items(request, context)
        with state.lock:
            content = request.SerializeToString(deterministic=True)
            if request.request_id in state.answered and state.answered[request.request_id][0] != content:
                abort(context, REQUEST_ID_REUSED)
            if request.request_id not in state.answered:
                state.answered[request.request_id] = (content, write(request, items))
            if state.lost:
                abort(context, state.lost.pop(0))
            return state.answered[request.request_id][1]

    def UpsertItems(self, request, context):
        state = self.state
        with state.lock:
            state.under_way += 1
            state.most_under_way = max(state.most_under_way, state.under_way)
        if state.meet is not None:
            state.meet.wait(20)
        try:
            return self.written(request, context, state.upsert)
        finally:
            with state.lock:
                state.under_way -= 1

    def DeleteItems(self, request, context):
        return self.written(request, context, self.state.delete)

    def GetItem(self, request, context):
        items = self.items(request, context)
        if request.id not in items:
            abort(context, NO_SUCH_ITEM)
        return pb.GetItemResponse(item=self.stored(items[request.id], request))

    def ListItems(self, request, context):
        """Pages of the items; the only filter it knows is the title that they have."""
        items = self.items(request, context).values()
        matching = [item for item in items if request.filter in {"", f'title = "{title_of(item)}"'}]
        start = int(request.page_token or 0)
        page = matching[start : start + request.page_size]
        end = start + len(page)
        return pb.ListItemsResponse(
            items=[self.stored(item, request) for item in page],
            next_page_token=str(end) if end < len(matching) else "",
        )

    def stored(self, item: pb.UpsertItem, request) -> pb.Item:
        full = request.view == pb.ITEM_VIEW_FULL
        return pb.Item(
            id=item.id,
            metadata=item.metadata,
            uri=item.uri,
            sequence_number=self.state.written_at[item.id],
            embedding=embedding(item.text.encode(), request.format) if full else None,
        )

    def GetFacets(self, request, context):
        """The fields that it knows, whatever the items hold."""
        self.items(request, context)
        known = [
            pb.FieldFacet(field="colour", items=3, values=[facet_value(3, string_value="red")], more_values=True),
            pb.FieldFacet(
                field="price",
                items=4,
                values=[facet_value(2, number_value=20), facet_value(1, number_value=0.5)],
                minimum=0.5,
                maximum=20,
            ),
            pb.FieldFacet(field="sold", items=1, values=[facet_value(1, bool_value=True)]),
        ]
        asked = [one for one in known if not request.fields or one.field in request.fields]
        for one in asked:
            del one.values[request.value_limit :]
        return pb.GetFacetsResponse(fields=asked, sequence_number=self.state.sequence_number)

    def RebuildIndex(self, request, context):
        self.items(request, context)
        if not self.state.operation:
            abort(context, REBUILD_RUNNING)
        return self.state.operation[0]

    def ImportItems(self, request, context):
        self.items(request, context)
        return self.state.operation[0]

    def ExportItems(self, request, context):
        self.items(request, context)
        return self.state.operation[0]

    def CreateCollection(self, request, context):
        self.fake.seen(request, context)
        if request.collection in self.state.collections:
            abort(context, COLLECTION_EXISTS)
        self.state.collections[request.collection] = {}
        return pb.CreateCollectionResponse()

    def ListCollections(self, request, context):
        self.fake.seen(request, context)
        return pb.ListCollectionsResponse(collections=sorted(self.state.collections))

    def DeleteCollection(self, request, context):
        self.items(request, context)
        del self.state.collections[request.collection]
        return pb.DeleteCollectionResponse()

    def GetCollectionStats(self, request, context):
        items = self.items(request, context)
        return pb.GetCollectionStatsResponse(
            items=len(items),
            tombstones=2,
            delta_items=len(items),
            sequence_number=self.state.sequence_number,
            dimension=DIMENSION,
            disk_bytes=4096,
            index=INDEX if items else None,
        )


class Operations(operations_pb2_grpc.OperationsServicer):
    def __init__(self, fake) -> None:
        self.fake = fake
        self.state: FakeCatalogue = fake.catalogue

    def GetOperation(self, request, context):
        self.fake.seen(request, context)
        return self.state.operation[0]

    def ListOperations(self, request, context):
        self.fake.seen(request, context)
        return operations_pb2.ListOperationsResponse(operations=self.state.operation)

    def WaitOperation(self, request, context):
        self.fake.seen(request, context)
        operation = self.state.operation
        return operation.pop(0) if len(operation) > 1 else operation[0]

    def CancelOperation(self, request, context):
        self.fake.seen(request, context)
        self.state.operation[:] = [rebuilt(CANCELLED)]
        return empty_pb2.Empty()
