"""The client for asyncio: the methods of ``Client``, awaited; what yields there is an asynchronous iterator here."""

# ruff: noqa: ASYNC109  a timeout here is the call's deadline, which the server is told: more than asyncio.timeout does

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from clipsearch.client import convert, streams
from clipsearch.client.bulk import Key, Window, merge, messages
from clipsearch.client.catalogue_aio import AsyncCatalogue
from clipsearch.client.channel import (
    HEALTH_METHOD,
    MAX_MESSAGE_BYTES,
    health_request,
    is_serving,
    not_ready,
    rpc_timeout,
)
from clipsearch.client.connection import AsyncConnection
from clipsearch.client.errors import ClientError, DeadlineExceeded, Unavailable
from clipsearch.client.models import AsyncModels
from clipsearch.client.pipeline import each, one_by_one
from clipsearch.client.requests import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_TIMEOUT_S,
    DEFAULT_WINDOW,
    HEALTH_POLL_S,
    Requests,
    SearchOptions,
)
from clipsearch.client.retry import RetryPolicy
from clipsearch.client.types import (
    Embedded,
    Input,
    ModelInfo,
    Picture,
    Priority,
    Query,
    SearchResult,
    Transport,
    View,
)
from clipsearch.v1 import embedding_pb2, embedding_pb2_grpc, search_pb2, search_pb2_grpc


class AsyncClient:
    """A connection to one clipsearch server, for one event loop; make it inside the loop and share it between tasks.

    An asynchronous context manager. The arguments are those of ``Client``, and so is ``catalogue``, awaited. Picture
    files are read in a thread.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        transport: Transport = "float32",
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str | None = None,
        retry: RetryPolicy | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests = Requests(timeout, transport, retry or RetryPolicy(), max_message_bytes, api_key)
        self._connection = AsyncConnection(target, self._requests, credentials, clock, sleep)
        channel = self._connection.channel
        self.catalogue = AsyncCatalogue(self._connection)
        self.models = AsyncModels(self._connection)
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self._searching = search_pb2_grpc.SearchServiceStub(channel)
        self._health: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(HEALTH_METHOD)

    async def close(self) -> None:
        """Close the connection; calls still running are cancelled."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def embed_text(
        self, text: str, *, priority: Priority | None = None, timeout: float | None = None
    ) -> Embedded:
        """Embed one text; one longer than the model's context is cut, and the result says so."""
        request = self._requests.embed_text(text, priority)
        return convert.embedded_text(await self._connection.call(self._embedding.EmbedText, request, timeout))

    async def embed_image(
        self, image: Picture, *, priority: Priority | None = None, timeout: float | None = None
    ) -> Embedded:
        """Embed one picture, given as its encoded bytes or the path of its file (OSError where it can't be read)."""
        request = await asyncio.to_thread(self._requests.embed_image, image, priority)
        return convert.embedded_image(await self._connection.call(self._embedding.EmbedImage, request, timeout))

    def embed_batch(
        self,
        items: Iterable[Input] | AsyncIterable[Input],
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Embedded | ClientError]:
        """Embed texts and pictures, ``batch_size`` to a request (fewer where the message limit says so), lazily.

        Yields one result for each item, in order: its embedding, or the ClientError that says why there is none (also
        for a file that can't be read). ``timeout`` counts per request. A request that fails as a whole raises.
        """
        chunker = self._requests.embed_chunker(batch_size)
        convert.priority_value(priority)
        self._requests.deadline(timeout, 0.0)

        async def embed(chunk: list[embedding_pb2.EmbedInput | ClientError]) -> list[Embedded | ClientError]:
            inputs = messages(chunk)
            if not inputs:
                return merge(chunk, [])
            request = self._requests.batch_embed(inputs, priority)
            response = await self._connection.call(self._embedding.BatchEmbed, request, timeout)
            return merge(chunk, [convert.embed_result(result) for result in response.results])

        return one_by_one(each(items), self._prepare, chunker, embed)

    def stream_embed(
        self,
        items: Iterable[tuple[Key, Input | ClientError]] | AsyncIterable[tuple[Key, Input | ClientError]],
        *,
        window: int = DEFAULT_WINDOW,
        in_order: bool = False,
        priority: Priority | None = None,
        timeout: float = math.inf,
    ) -> AsyncIterator[tuple[Key, Embedded | ClientError]]:
        """Embed without end: takes (id, text or picture) pairs and yields (id, result) pairs, in flat memory.

        As ``Client.stream_embed``, but results come also while the iterable waits for its next item. Wrap it in
        ``contextlib.aclosing`` where the loop over it may end early, so that the call ends there and then.
        """
        seconds = rpc_timeout(timeout)
        convert.priority_value(priority)
        open_items: Window[Key] = self._requests.window(window, in_order)
        return streams.asynchronous(
            self._embedding.StreamEmbed,
            self._prepare_pairs(items),
            open_items,
            lambda name, item: self._requests.stream_item(name, item, priority),
            seconds,
            metadata=self._requests.metadata,
        )

    async def search(
        self,
        *,
        text: str | None = None,
        image: Picture | None = None,
        vector: NDArray[np.floating[Any]] | None = None,
        item_id: str | None = None,
        terms: Sequence[tuple[Query, float]] | None = None,
        top_k: int | None = None,
        nprobe: int | None = None,
        view: View = "basic",
        collection: str = "",
        filter: str = "",
        min_sequence_number: int = 0,
        exclude_ids: Iterable[str] = (),
        min_score: float | None = None,
        offset: int | None = None,
        page_token: str = "",
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> SearchResult:
        """Find the items nearest to exactly one of a text, a picture, a vector (float [dimension]), an item or terms.

        ``terms`` are several queries, each with its weight, as in ``Query``. ``top_k`` is the number of hits (10
        unless given); ``nprobe`` the number of index lists to visit instead of the tuned one; ``view`` how much of each
        hit to return. Hits are only items whose metadata match ``filter``, whose ids are not in ``exclude_ids`` and
        whose score is at least ``min_score``. FailedPrecondition with the reason SEQUENCE_NOT_REACHED says that the
        collection is not yet at ``min_sequence_number``. ``offset``, 0 as well, asks for pages: the same search with
        the result's ``next_page_token`` as ``page_token``, and without an offset, gives the next one.
        """
        query = Query(text=text, image=image, vector=vector, item_id=item_id, terms=terms)
        options = SearchOptions(
            top_k=top_k,
            nprobe=nprobe,
            view=view,
            collection=collection,
            filter=filter,
            min_sequence_number=min_sequence_number,
            exclude_ids=exclude_ids,
            min_score=min_score,
            offset=offset,
            page_token=page_token,
            priority=priority,
        )
        if convert.reads_files(query):
            request = await asyncio.to_thread(self._requests.search, query, options)
        else:
            request = self._requests.search(query, options)
        return convert.search_result(await self._connection.call(self._searching.Search, request, timeout), view)

    def search_batch(
        self,
        queries: Iterable[Query] | AsyncIterable[Query],
        *,
        top_k: int | None = None,
        nprobe: int | None = None,
        view: View = "basic",
        collection: str = "",
        filter: str = "",
        min_sequence_number: int = 0,
        exclude_ids: Iterable[str] = (),
        min_score: float | None = None,
        priority: Priority | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        timeout: float | None = None,
    ) -> AsyncIterator[SearchResult | ClientError]:
        """Search for many queries, ``batch_size`` to a request, lazily; arguments as of ``search``.

        Yields one result for each query, in order: its hits, or the ClientError that says why there are none.
        """
        chunker = self._requests.search_chunker(batch_size)
        options = SearchOptions(
            top_k=top_k,
            nprobe=nprobe,
            view=view,
            collection=collection,
            filter=filter,
            min_sequence_number=min_sequence_number,
            exclude_ids=exclude_ids,
            min_score=min_score,
            priority=priority,
        )
        self._requests.deadline(timeout, 0.0)

        async def prepare(query: Query) -> search_pb2.SearchRequest | ClientError:
            if convert.reads_files(query):
                return await asyncio.to_thread(self._requests.search_or_error, query, options)
            return self._requests.search_or_error(query, options)

        async def find(chunk: list[search_pb2.SearchRequest | ClientError]) -> list[SearchResult | ClientError]:
            searches = messages(chunk)
            if not searches:
                return merge(chunk, [])
            request = search_pb2.BatchSearchRequest(requests=searches)
            response = await self._connection.call(self._searching.BatchSearch, request, timeout)
            return merge(chunk, [convert.batch_search_result(result, view) for result in response.results])

        return one_by_one(each(queries), prepare, chunker, find)

    async def model(self, *, timeout: float | None = None) -> ModelInfo:
        """Return the facts of the served model: its hash, dimension, context length and so on."""
        request = embedding_pb2.GetModelRequest()
        response = await self._connection.call(self._embedding.GetModel, request, timeout)
        return convert.model_info(response.model)

    async def ready(self, *, timeout: float | None = None) -> bool:
        """Return whether the server reports SERVING; False where none can be reached."""
        try:
            return is_serving(await self._connection.call(self._health, health_request(), timeout))
        except Unavailable:
            return False

    async def wait_until_ready(self, timeout: float) -> None:
        """Return once the server reports SERVING; raises DeadlineExceeded after ``timeout`` seconds."""
        deadline = self._requests.deadline(timeout, self._connection.clock())
        while True:
            try:
                if await self.ready(timeout=self._requests.attempt_timeout(deadline, self._connection.clock())):
                    return
            except DeadlineExceeded as error:
                raise not_ready(timeout) from error
            if self._connection.clock() + HEALTH_POLL_S >= deadline:
                raise not_ready(timeout)
            await self._connection.sleep(HEALTH_POLL_S)

    async def _prepare(self, item: Input | ClientError) -> embedding_pb2.EmbedInput | ClientError:
        if isinstance(item, Path):
            return await asyncio.to_thread(self._requests.embed_input, item)
        return self._requests.embed_input(item)

    async def _prepare_pairs(
        self, items: Iterable[tuple[Key, Input | ClientError]] | AsyncIterable[tuple[Key, Input | ClientError]]
    ) -> AsyncGenerator[streams.Prepared[Key], None]:
        async for key, item in each(items):
            yield key, await self._prepare(item)
