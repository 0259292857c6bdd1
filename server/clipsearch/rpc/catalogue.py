"""CatalogueService: parse, call the use case, convert."""

from google.longrunning import operations_pb2

from clipsearch.errors import NoIndex, UnknownEnumValue
from clipsearch.ports import Priority
from clipsearch.rpc import convert, convert_catalogue
from clipsearch.rpc.convert_operations import operation
from clipsearch.rpc.observed import Context, Observed
from clipsearch.rpc.status import answers_errors
from clipsearch.services.catalogue import CatalogueService, Change
from clipsearch.services.facets import FacetService
from clipsearch.services.jobs import Jobs, Training
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import catalogue_pb2_grpc, common_pb2

_NO_DATA = "this server was started without a data directory"

_VIEWS = frozenset(pb.ItemView.values())

_TRAININGS: dict[int, Training] = {
    pb.REBUILD_TRAINING_UNSPECIFIED: Training.WHERE_NEEDED,
    pb.REBUILD_TRAINING_WHERE_NEEDED: Training.WHERE_NEEDED,
    pb.REBUILD_TRAINING_ALWAYS: Training.ALWAYS,
}


class CatalogueServicer(Observed, catalogue_pb2_grpc.CatalogueServiceServicer):
    """The catalogue RPCs; without a data directory they answer NO_INDEX."""

    def __init__(self, service: CatalogueService | None, facets: FacetService | None, jobs: Jobs | None) -> None:
        self._service = service
        self._facets = facets
        self._jobs = jobs

    @answers_errors
    async def UpsertItems(self, request: pb.UpsertItemsRequest, context: Context) -> pb.UpsertItemsResponse:
        call = convert.call_of(context, request.priority, Priority.BULK)
        items = convert_catalogue.new_items(request.items)
        written = await self._catalogue().upsert(request.collection, items, request.request_id or None, call)
        return convert_catalogue.upsert_response(written, call.started)

    @answers_errors
    async def DeleteItems(self, request: pb.DeleteItemsRequest, context: Context) -> pb.DeleteItemsResponse:
        call = convert.call_of(context, common_pb2.PRIORITY_UNSPECIFIED, Priority.INTERACTIVE)
        ids = list(request.ids)
        written = await self._catalogue().delete(request.collection, ids, request.request_id or None, call)
        missing = [
            item_id for item_id, outcome in zip(ids, written.outcomes, strict=True) if outcome is Change.NOT_FOUND
        ]
        return pb.DeleteItemsResponse(sequence_number=written.seq, missing_ids=missing)

    @answers_errors
    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:
        full = _is_full(request.view, request.format)
        item = await self._catalogue().get(request.collection, request.id, with_embedding=full)
        return pb.GetItemResponse(item=convert_catalogue.item(item, request.format))

    @answers_errors
    async def ListItems(self, request: pb.ListItemsRequest, context: Context) -> pb.ListItemsResponse:
        full = _is_full(request.view, request.format)
        items, token = await self._catalogue().page(
            request.collection, request.page_size, request.page_token, request.filter, with_embeddings=full
        )
        messages = [convert_catalogue.item(item, request.format) for item in items]
        return pb.ListItemsResponse(items=messages, next_page_token=token)

    @answers_errors
    async def GetFacets(self, request: pb.GetFacetsRequest, context: Context) -> pb.GetFacetsResponse:
        if self._facets is None:
            raise NoIndex(_NO_DATA)
        call = convert.call_of(context, common_pb2.PRIORITY_UNSPECIFIED, Priority.INTERACTIVE)
        fields = list(request.fields)
        counted = await self._facets.facets(request.collection, request.filter, fields, request.value_limit, call)
        return convert_catalogue.facets_response(counted)

    @answers_errors
    async def RebuildIndex(self, request: pb.RebuildIndexRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._long().rebuild(request.collection, _training(request.training)))

    @answers_errors
    async def Snapshot(self, request: pb.SnapshotRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._long().snapshot(request.collections, request.name))

    @answers_errors
    async def ImportItems(self, request: pb.ImportItemsRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._long().import_items(request.collection, request.path, request.metadata_path))

    @answers_errors
    async def ExportItems(self, request: pb.ExportItemsRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._long().export_items(request.collection, request.path, overwrite=request.overwrite))

    @answers_errors
    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        await self._catalogue().create(request.collection)
        return pb.CreateCollectionResponse()

    @answers_errors
    async def ListCollections(self, request: pb.ListCollectionsRequest, context: Context) -> pb.ListCollectionsResponse:
        return pb.ListCollectionsResponse(collections=self._catalogue().names())

    @answers_errors
    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        await self._catalogue().drop(request.collection)
        return pb.DeleteCollectionResponse()

    @answers_errors
    async def GetCollectionStats(
        self, request: pb.GetCollectionStatsRequest, context: Context
    ) -> pb.GetCollectionStatsResponse:
        stats, recall = await self._catalogue().stats(request.collection)
        return convert_catalogue.stats_response(stats, recall)

    def _catalogue(self) -> CatalogueService:
        if self._service is None:
            raise NoIndex(_NO_DATA)
        return self._service

    def _long(self) -> Jobs:
        if self._jobs is None:
            raise NoIndex(_NO_DATA)
        return self._jobs


def _training(training: int) -> Training:
    try:
        return _TRAININGS[training]
    except KeyError:
        raise UnknownEnumValue(f"training {training} is not known", field="training") from None


def _is_full(view: int, format_: int) -> bool:
    if view not in _VIEWS:
        raise UnknownEnumValue(f"view {view} is not known", field="view")
    convert.check_format(format_)
    return view == pb.ITEM_VIEW_FULL
