"""Batches of an iterable: one request after the other, or, of writes, several under way at once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from google.protobuf.message import Message

from clipsearch.client import convert_catalogue
from clipsearch.client.bulk import Chunker, UnderWay, UpsertChunker, merge, messages
from clipsearch.client.connection import Pending
from clipsearch.client.errors import ClientError
from clipsearch.client.types import NewItem, Outcome
from clipsearch.v1 import catalogue_pb2

_Item = TypeVar("_Item")
_Message = TypeVar("_Message", bound=Message)
_Response = TypeVar("_Response")

Written = tuple[str, Outcome | ClientError]
_Upserts = list[catalogue_pb2.UpsertItem]


async def each(items: Iterable[_Item] | AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    """Iterate over either kind of iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def one_by_one(
    items: AsyncIterator[_Item],
    prepare: Callable[[_Item], Awaitable[_Message | ClientError]],
    chunker: Chunker[_Message],
    call: Callable[[list[_Message | ClientError]], Awaitable[list[_Response]]],
) -> AsyncIterator[_Response]:
    """Yield what ``call`` makes of each chunk of the prepared items."""
    async for chunk in _chunks(items, prepare, chunker):
        for result in await call(chunk):
            yield result


def write_blocking(
    items: Iterable[NewItem],
    prepare: Callable[[NewItem], catalogue_pb2.UpsertItem | ClientError],
    chunker: UpsertChunker,
    begin: Callable[[_Upserts], Pending[catalogue_pb2.UpsertItemsResponse]],
    under_way: UnderWay[Pending[catalogue_pb2.UpsertItemsResponse]],
) -> Iterator[Written]:
    """Write items in this thread; see ``Catalogue.upsert_many``."""
    ids: deque[str] = deque()

    def prepared() -> Iterator[catalogue_pb2.UpsertItem | ClientError]:
        for item in items:
            ids.append(item.id)
            yield prepare(item)

    def finished() -> Iterator[Written]:
        chunk, call = under_way.oldest()
        results = merge(chunk, convert_catalogue.outcomes(call.result()) if call is not None else [])
        under_way.drop_oldest()
        for result in results:
            yield ids.popleft(), result

    try:
        for chunk in chunker.chunks(prepared()):
            while not under_way.has_room_for(chunk):
                yield from finished()
            sound = messages(chunk)
            under_way.add(chunk, begin(sound) if sound else None)
        while under_way:
            yield from finished()
    except ClientError as error:
        error.unanswered = tuple(ids)
        raise
    finally:
        for pending in under_way.calls():
            pending.cancel()


async def write_asynchronous(
    items: AsyncIterator[NewItem],
    prepare: Callable[[NewItem], Awaitable[catalogue_pb2.UpsertItem | ClientError]],
    chunker: UpsertChunker,
    call: Callable[[_Upserts], Coroutine[Any, Any, catalogue_pb2.UpsertItemsResponse]],
    under_way: "UnderWay[asyncio.Task[catalogue_pb2.UpsertItemsResponse]]",
) -> AsyncIterator[Written]:
    """Write items with a task for each request; see ``AsyncCatalogue.upsert_many``."""
    ids: deque[str] = deque()

    async def prepared(item: NewItem) -> catalogue_pb2.UpsertItem | ClientError:
        ids.append(item.id)
        return await prepare(item)

    async def finished() -> list[Written]:
        chunk, task = under_way.oldest()
        results = merge(chunk, convert_catalogue.outcomes(await task) if task is not None else [])
        under_way.drop_oldest()
        return [(ids.popleft(), result) for result in results]

    try:
        async for chunk in _chunks(items, prepared, chunker):
            while not under_way.has_room_for(chunk):
                for pair in await finished():
                    yield pair
            sound = messages(chunk)
            under_way.add(chunk, asyncio.create_task(call(sound)) if sound else None)
        while under_way:
            for pair in await finished():
                yield pair
    except ClientError as error:
        error.unanswered = tuple(ids)
        raise
    finally:
        tasks = list(under_way.calls())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _chunks(
    items: AsyncIterator[_Item],
    prepare: Callable[[_Item], Awaitable[_Message | ClientError]],
    chunker: Chunker[_Message],
) -> AsyncIterator[list[_Message | ClientError]]:
    async for item in items:
        if chunk := chunker.add(await prepare(item)):
            yield chunk
    if chunk := chunker.rest():
        yield chunk
