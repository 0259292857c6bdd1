"""``Client.catalogue``: writing, reading and listing the items that searches find, and their collections."""

from collections.abc import Iterable, Iterator, Sequence

from google.longrunning import operations_pb2, operations_pb2_grpc

from clipsearch.client import convert, convert_catalogue
from clipsearch.client.bulk import UnderWay, merge, messages
from clipsearch.client.connection import Connection, Pending
from clipsearch.client.convert_operations import EXPORT, IMPORT, REBUILD, state
from clipsearch.client.errors import ClientError
from clipsearch.client.operation import Operation
from clipsearch.client.pipeline import write_blocking
from clipsearch.client.requests import DEFAULT_BATCH_SIZE, DEFAULT_CONCURRENCY, DEFAULT_FACET_VALUES, DEFAULT_PAGE_SIZE
from clipsearch.client.types import (
    CollectionStats,
    Deleted,
    Exported,
    Facets,
    Imported,
    IndexStats,
    Item,
    NewItem,
    OperationState,
    Outcome,
    Priority,
    Upserted,
)
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import catalogue_pb2_grpc


class Catalogue:
    """The items of a server's collections; ``collection`` is the default one where none is named.

    A write is durable and searchable when its method returns. Each carries a request id, and the server does what has
    the same id once, so that repeating it is safe: give your own ``request_id`` to repeat a write yourself, with the
    very same content, after an error that leaves open whether it was done.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._requests = connection.requests
        self._stub = catalogue_pb2_grpc.CatalogueServiceStub(connection.channel)
        self._operations = operations_pb2_grpc.OperationsStub(connection.channel)

    def upsert(
        self,
        items: Iterable[NewItem],
        *,
        collection: str = "",
        request_id: str | None = None,
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> Upserted:
        """Insert items, or replace those of the same id, in one request: at most the server's ``max_batch_items``.

        A bad item (also one whose picture file can't be read) has its ClientError in the results; the others are
        written. An id may come once. ``priority`` is bulk unless given.
        """
        prepared = [self._requests.upsert_item(item) for item in items]
        request = self._requests.upsert(messages(prepared), collection, priority, request_id)
        response = self._connection.call(self._stub.UpsertItems, request, timeout)
        return convert_catalogue.upserted(response, merge(prepared, convert_catalogue.outcomes(response)))

    def upsert_many(
        self,
        items: Iterable[NewItem],
        *,
        collection: str = "",
        batch_size: int = DEFAULT_BATCH_SIZE,
        concurrency: int = DEFAULT_CONCURRENCY,
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[str, Outcome | ClientError]]:
        """Write items without end and lazily, ``batch_size`` to a request; an item counts as many as its pictures.

        Yields (id, result) for each item, in order. At most ``concurrency`` requests are under way, begun and awaited
        in this thread; an id that comes again waits until its earlier item is written, so that the later one wins.
        ``timeout`` counts per request. A request that fails as a whole raises, and the error's ``unanswered`` lists
        the ids that were taken and have no result: some may be written, and writing them again does no harm.
        """
        chunker = self._requests.upsert_chunker(batch_size)
        under_way: UnderWay[Pending[pb.UpsertItemsResponse]] = UnderWay(concurrency)
        convert.priority_value(priority)
        self._requests.deadline(timeout, 0.0)

        def begin(sound: list[pb.UpsertItem]) -> Pending[pb.UpsertItemsResponse]:
            request = self._requests.upsert(sound, collection, priority)
            return self._connection.begin(self._stub.UpsertItems, request, timeout)

        return write_blocking(items, self._requests.upsert_item, chunker, begin, under_way)

    def delete(
        self,
        ids: Iterable[str],
        *,
        collection: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Deleted:
        """Delete items in one request, at most the server's ``max_batch_items``; ids that are not there are told."""
        request = self._requests.delete(ids, collection, request_id)
        response = self._connection.call(self._stub.DeleteItems, request, timeout)
        return Deleted(response.sequence_number, tuple(response.missing_ids))

    def get_item(
        self, item_id: str, *, collection: str = "", with_embedding: bool = False, timeout: float | None = None
    ) -> Item:
        """Return one item; raises NotFound."""
        request = self._requests.get_item(item_id, collection, with_embedding)
        response = self._connection.call(self._stub.GetItem, request, timeout)
        return convert_catalogue.item(response.item, with_embedding)

    def list_items(
        self,
        *,
        collection: str = "",
        filter: str = "",
        page_size: int = DEFAULT_PAGE_SIZE,
        with_embedding: bool = False,
        timeout: float | None = None,
    ) -> Iterator[Item]:
        """Iterate over all items that a filter lets through, in the order last written, asking page by page.

        An item that is written meanwhile may come again at the end; none that stays is left out. ``timeout`` counts
        per page.
        """
        request = self._requests.list_items(collection, filter, page_size, with_embedding)
        self._requests.deadline(timeout, 0.0)
        return self._pages(request, with_embedding, timeout)

    def _pages(self, request: pb.ListItemsRequest, with_embedding: bool, timeout: float | None) -> Iterator[Item]:
        while True:
            response = self._connection.call(self._stub.ListItems, request, timeout)
            for message in response.items:
                yield convert_catalogue.item(message, with_embedding)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def facets(
        self,
        collection: str = "",
        *,
        fields: Sequence[str] = (),
        filter: str = "",
        limit: int = DEFAULT_FACET_VALUES,
        timeout: float | None = None,
    ) -> Facets:
        """Count what the metadata hold: of each field the items that have it, its common values, its range.

        Exactly, over all items that a filter lets through. Of the ``fields`` named (``brand``, ``size.eu``, written as
        in a filter), all that there are where none is; up to ``limit`` values of each. The first count takes the server
        some seconds for a million items, later ones what was written since.
        """
        request = self._requests.facets(collection, fields, filter, limit)
        return convert_catalogue.facets(self._connection.call(self._stub.GetFacets, request, timeout))

    def rebuild_index(
        self, collection: str = "", *, train: bool = False, timeout: float | None = None
    ) -> Operation[IndexStats]:
        """Start to build a collection's index anew, beside serving; raises Aborted while that is being done already.

        It is trained where the items call for it, or if ``train`` says so.
        """
        training = pb.REBUILD_TRAINING_ALWAYS if train else pb.REBUILD_TRAINING_WHERE_NEEDED
        request = pb.RebuildIndexRequest(collection=collection, training=training)
        started = self._connection.call(self._stub.RebuildIndex, request, timeout)
        return Operation(self._connection, started.name, REBUILD)

    def import_items(
        self, path: str, *, metadata_path: str = "", collection: str = "", timeout: float | None = None
    ) -> Operation[Imported]:
        """Start to load what lies below the server's ``imports`` directory: pictures, ``.npy`` or ``.parquet``.

        ``path`` and ``metadata_path`` (CSV, TSV or JSON Lines) are relative to that. Raises FailedPrecondition where
        the server has no such directory, NotFound where nothing is there, Aborted while another import into the
        collection runs.
        """
        request = pb.ImportItemsRequest(collection=collection, path=path, metadata_path=metadata_path)
        started = self._connection.call(self._stub.ImportItems, request, timeout)
        return Operation(self._connection, started.name, IMPORT)

    def export_items(
        self, path: str, *, collection: str = "", overwrite: bool = False, timeout: float | None = None
    ) -> Operation[Exported]:
        """Start to write a collection, as it is now, into a Parquet file below the server's ``exports`` directory.

        ``path`` is relative to that and ends in ``.parquet``. Raises FailedPrecondition where the server has no such
        directory, AlreadyExists where there is such a file and it may not be replaced, Aborted while another export
        runs.
        """
        request = pb.ExportItemsRequest(collection=collection, path=path, overwrite=overwrite)
        started = self._connection.call(self._stub.ExportItems, request, timeout)
        return Operation(self._connection, started.name, EXPORT)

    def operations(self, *, timeout: float | None = None) -> list[OperationState]:
        """Return the operations that run and the last ones that are over, of all collections, latest first."""
        request = operations_pb2.ListOperationsRequest()
        response = self._connection.call(self._operations.ListOperations, request, timeout)
        known = [one for one in map(state, response.operations) if one is not None]
        return sorted(known, key=lambda one: one.progress.start_time, reverse=True)

    def cancel_operation(self, name: str, *, timeout: float | None = None) -> None:
        """Ask the server to stop an operation at its next step; NotFound where it knows none of this name."""
        request = operations_pb2.CancelOperationRequest(name=name)
        self._connection.call(self._operations.CancelOperation, request, timeout)

    def create_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Make an empty collection; raises AlreadyExists.

        The name has 1 to 64 lower-case letters, digits, ``-`` and ``_``, a letter or digit first.
        """
        self._connection.call(self._stub.CreateCollection, pb.CreateCollectionRequest(collection=collection), timeout)

    def collections(self, *, timeout: float | None = None) -> list[str]:
        """Return the names of the collections, sorted."""
        response = self._connection.call(self._stub.ListCollections, pb.ListCollectionsRequest(), timeout)
        return list(response.collections)

    def delete_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Delete a collection and everything in it, on disk as well; the default one is made again, empty."""
        self._connection.call(self._stub.DeleteCollection, pb.DeleteCollectionRequest(collection=collection), timeout)

    def stats(self, collection: str = "", *, timeout: float | None = None) -> CollectionStats:
        """Return the size and state of a collection and of its index."""
        request = pb.GetCollectionStatsRequest(collection=collection)
        return convert_catalogue.collection_stats(
            self._connection.call(self._stub.GetCollectionStats, request, timeout)
        )
