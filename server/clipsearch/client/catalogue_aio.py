"""``AsyncClient.catalogue``: the methods of ``Catalogue``, awaited; what yields there is an async iterator here."""

# ruff: noqa: ASYNC109  a timeout here is the call's deadline, which the server is told: more than asyncio.timeout does

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

from google.longrunning import operations_pb2, operations_pb2_grpc

from clipsearch.client import convert, convert_catalogue
from clipsearch.client.bulk import UnderWay, merge, messages
from clipsearch.client.connection import AsyncConnection
from clipsearch.client.convert_operations import EXPORT, IMPORT, REBUILD, state
from clipsearch.client.errors import ClientError
from clipsearch.client.operation import AsyncOperation
from clipsearch.client.pipeline import each, write_asynchronous
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


class AsyncCatalogue:
    """The items of a server's collections, for asyncio; see ``Catalogue``. Picture files are read in a thread."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._requests = connection.requests
        self._stub = catalogue_pb2_grpc.CatalogueServiceStub(connection.channel)
        self._operations = operations_pb2_grpc.OperationsStub(connection.channel)

    async def upsert(
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
        prepared = [await self._prepare(item) for item in items]
        request = self._requests.upsert(messages(prepared), collection, priority, request_id)
        response = await self._connection.call(self._stub.UpsertItems, request, timeout)
        return convert_catalogue.upserted(response, merge(prepared, convert_catalogue.outcomes(response)))

    def upsert_many(
        self,
        items: Iterable[NewItem] | AsyncIterable[NewItem],
        *,
        collection: str = "",
        batch_size: int = DEFAULT_BATCH_SIZE,
        concurrency: int = DEFAULT_CONCURRENCY,
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[str, Outcome | ClientError]]:
        """Write items without end and lazily, ``batch_size`` to a request; an item counts as many as its pictures.

        Yields (id, result) for each item, in order. At most ``concurrency`` requests are under way; an id that comes
        again waits until its earlier item is written, so that the later one wins. ``timeout`` counts per request. A
        request that fails as a whole raises, and the error's ``unanswered`` lists the ids that were taken and have no
        result: some may be written, and writing them again does no harm. Wrap it in ``contextlib.aclosing`` where the
        loop over it may end early, so that the requests end there and then.
        """
        chunker = self._requests.upsert_chunker(batch_size)
        under_way: UnderWay[asyncio.Task[pb.UpsertItemsResponse]] = UnderWay(concurrency)
        convert.priority_value(priority)
        self._requests.deadline(timeout, 0.0)

        async def call(sound: list[pb.UpsertItem]) -> pb.UpsertItemsResponse:
            request = self._requests.upsert(sound, collection, priority)
            return await self._connection.call(self._stub.UpsertItems, request, timeout)

        return write_asynchronous(each(items), self._prepare, chunker, call, under_way)

    async def delete(
        self,
        ids: Iterable[str],
        *,
        collection: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Deleted:
        """Delete items in one request, at most the server's ``max_batch_items``; ids that are not there are told."""
        request = self._requests.delete(ids, collection, request_id)
        response = await self._connection.call(self._stub.DeleteItems, request, timeout)
        return Deleted(response.sequence_number, tuple(response.missing_ids))

    async def get_item(
        self, item_id: str, *, collection: str = "", with_embedding: bool = False, timeout: float | None = None
    ) -> Item:
        """Return one item; raises NotFound."""
        request = self._requests.get_item(item_id, collection, with_embedding)
        response = await self._connection.call(self._stub.GetItem, request, timeout)
        return convert_catalogue.item(response.item, with_embedding)

    def list_items(
        self,
        *,
        collection: str = "",
        filter: str = "",
        page_size: int = DEFAULT_PAGE_SIZE,
        with_embedding: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Item]:
        """Iterate over all items that a filter lets through, in the order last written, asking page by page.

        An item that is written meanwhile may come again at the end; none that stays is left out. ``timeout`` counts
        per page.
        """
        request = self._requests.list_items(collection, filter, page_size, with_embedding)
        self._requests.deadline(timeout, 0.0)
        return self._pages(request, with_embedding, timeout)

    async def _pages(
        self, request: pb.ListItemsRequest, with_embedding: bool, timeout: float | None
    ) -> AsyncIterator[Item]:
        while True:
            response = await self._connection.call(self._stub.ListItems, request, timeout)
            for message in response.items:
                yield convert_catalogue.item(message, with_embedding)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def facets(
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
        return convert_catalogue.facets(await self._connection.call(self._stub.GetFacets, request, timeout))

    async def rebuild_index(
        self, collection: str = "", *, train: bool = False, timeout: float | None = None
    ) -> AsyncOperation[IndexStats]:
        """Start to build a collection's index anew, beside serving; raises Aborted while that is being done already.

        It is trained where the items call for it, or if ``train`` says so.
        """
        training = pb.REBUILD_TRAINING_ALWAYS if train else pb.REBUILD_TRAINING_WHERE_NEEDED
        request = pb.RebuildIndexRequest(collection=collection, training=training)
        started = await self._connection.call(self._stub.RebuildIndex, request, timeout)
        return AsyncOperation(self._connection, started.name, REBUILD)

    async def import_items(
        self, path: str, *, metadata_path: str = "", collection: str = "", timeout: float | None = None
    ) -> AsyncOperation[Imported]:
        """Start to load what lies below the server's ``imports`` directory: pictures, ``.npy`` or ``.parquet``.

        ``path`` and ``metadata_path`` (CSV, TSV or JSON Lines) are relative to that. Raises FailedPrecondition where
        the server has no such directory, NotFound where nothing is there, Aborted while another import into the
        collection runs.
        """
        request = pb.ImportItemsRequest(collection=collection, path=path, metadata_path=metadata_path)
        started = await self._connection.call(self._stub.ImportItems, request, timeout)
        return AsyncOperation(self._connection, started.name, IMPORT)

    async def export_items(
        self, path: str, *, collection: str = "", overwrite: bool = False, timeout: float | None = None
    ) -> AsyncOperation[Exported]:
        """Start to write a collection, as it is now, into a Parquet file below the server's ``exports`` directory.

        ``path`` is relative to that and ends in ``.parquet``. Raises FailedPrecondition where the server has no such
        directory, AlreadyExists where there is such a file and it may not be replaced, Aborted while another export
        runs.
        """
        request = pb.ExportItemsRequest(collection=collection, path=path, overwrite=overwrite)
        started = await self._connection.call(self._stub.ExportItems, request, timeout)
        return AsyncOperation(self._connection, started.name, EXPORT)

    async def operations(self, *, timeout: float | None = None) -> list[OperationState]:
        """Return the operations that run and the last ones that are over, of all collections, latest first."""
        request = operations_pb2.ListOperationsRequest()
        response = await self._connection.call(self._operations.ListOperations, request, timeout)
        known = [one for one in map(state, response.operations) if one is not None]
        return sorted(known, key=lambda one: one.progress.start_time, reverse=True)

    async def cancel_operation(self, name: str, *, timeout: float | None = None) -> None:
        """Ask the server to stop an operation at its next step; NotFound where it knows none of this name."""
        request = operations_pb2.CancelOperationRequest(name=name)
        await self._connection.call(self._operations.CancelOperation, request, timeout)

    async def create_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Make an empty collection; raises AlreadyExists.

        The name has 1 to 64 lower-case letters, digits, ``-`` and ``_``, a letter or digit first.
        """
        await self._connection.call(
            self._stub.CreateCollection, pb.CreateCollectionRequest(collection=collection), timeout
        )

    async def collections(self, *, timeout: float | None = None) -> list[str]:
        """Return the names of the collections, sorted."""
        response = await self._connection.call(self._stub.ListCollections, pb.ListCollectionsRequest(), timeout)
        return list(response.collections)

    async def delete_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Delete a collection and everything in it, on disk as well; the default one is made again, empty."""
        await self._connection.call(
            self._stub.DeleteCollection, pb.DeleteCollectionRequest(collection=collection), timeout
        )

    async def stats(self, collection: str = "", *, timeout: float | None = None) -> CollectionStats:
        """Return the size and state of a collection and of its index."""
        request = pb.GetCollectionStatsRequest(collection=collection)
        response = await self._connection.call(self._stub.GetCollectionStats, request, timeout)
        return convert_catalogue.collection_stats(response)

    async def _prepare(self, item: NewItem) -> pb.UpsertItem | ClientError:
        if convert_catalogue.reads_files(item):
            return await asyncio.to_thread(self._requests.upsert_item, item)
        return self._requests.upsert_item(item)
