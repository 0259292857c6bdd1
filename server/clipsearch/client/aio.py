"""The client for asyncio: the methods of ``Client``, awaited; what yields there is an asynchronous iterator here."""

# ruff: noqa: ASYNC109  a timeout here is the call's deadline, which the server is told: more than asyncio.timeout does

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from clipsearch.client import convert, streams
from clipsearch.client.bulk import Chunker, Key, Window, merge, messages
from clipsearch.client.channel import (
    HEALTH_METHOD,
    MAX_MESSAGE_BYTES,
    health_request,
    is_serving,
    not_ready,
    rpc_timeout,
)
from clipsearch.client.errors import ClientError, DeadlineExceeded, Unavailable, from_rpc_error
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

_Item = TypeVar("_Item")
_Message = TypeVar("_Message", bound=Message)
_Response = TypeVar("_Response")


class AsyncClient:
    """A connection to one clipsearch server, for one event loop; make it inside the loop and share it between tasks.

    An asynchronous context manager. The arguments are those of ``Client``. Picture files are read in a thread.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        transport: Transport = "float32",
        credentials: grpc.ChannelCredentials | None = None,
        retry: RetryPolicy | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests = Requests(timeout, transport, retry or RetryPolicy(), max_message_bytes)
        self._clock = clock
        self._sleep = sleep
        options = self._requests.channel_options()
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)
        self._searching = search_pb2_grpc.SearchServiceStub(self._channel)
        self._health: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(HEALTH_METHOD)

    async def close(self) -> None:
        """Close the connection; calls still running are cancelled."""
        await self._channel.close()

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
        return convert.embedded_text(await self._call(self._embedding.EmbedText, request, timeout))

    async def embed_image(
        self, image: Picture, *, priority: Priority | None = None, timeout: float | None = None
    ) -> Embedded:
        """Embed one picture, given as its encoded bytes or the path of its file (OSError where it can't be read)."""
        request = await asyncio.to_thread(self._requests.embed_image, image, priority)
        return convert.embedded_image(await self._call(self._embedding.EmbedImage, request, timeout))

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
            response = await self._call(self._embedding.BatchEmbed, request, timeout)
            return merge(chunk, [convert.embed_result(result) for result in response.results])

        return _chunked(_each(items), self._prepare, chunker, embed)

    def stream_embed(
        self,
        items: Iterable[tuple[Key, Input]] | AsyncIterable[tuple[Key, Input]],
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
        )

    async def search(
        self,
        *,
        text: str | None = None,
        image: Picture | None = None,
        vector: NDArray[np.floating[Any]] | None = None,
        item_id: str | None = None,
        top_k: int | None = None,
        nprobe: int | None = None,
        view: View = "basic",
        priority: Priority | None = None,
        timeout: float | None = None,
    ) -> SearchResult:
        """Find the items nearest to exactly one of a text, a picture, a vector (float [dimension]) or an indexed item.

        ``top_k`` is the number of hits (10 unless given); ``nprobe`` the number of index lists to visit instead of the
        tuned one; ``view`` how much of each hit to return.
        """
        query = Query(text=text, image=image, vector=vector, item_id=item_id)
        options = SearchOptions(top_k, nprobe, view, priority)
        if isinstance(image, Path):
            request = await asyncio.to_thread(self._requests.search, query, options)
        else:
            request = self._requests.search(query, options)
        return convert.search_result(await self._call(self._searching.Search, request, timeout), view)

    def search_batch(
        self,
        queries: Iterable[Query] | AsyncIterable[Query],
        *,
        top_k: int | None = None,
        nprobe: int | None = None,
        view: View = "basic",
        priority: Priority | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        timeout: float | None = None,
    ) -> AsyncIterator[SearchResult | ClientError]:
        """Search for many queries, ``batch_size`` to a request, lazily; arguments as of ``search``.

        Yields one result for each query, in order: its hits, or the ClientError that says why there are none.
        """
        chunker = self._requests.search_chunker(batch_size)
        options = SearchOptions(top_k, nprobe, view, priority)
        self._requests.deadline(timeout, 0.0)

        async def prepare(query: Query) -> search_pb2.SearchRequest | ClientError:
            if isinstance(query.image, Path):
                return await asyncio.to_thread(self._requests.search_or_error, query, options)
            return self._requests.search_or_error(query, options)

        async def find(chunk: list[search_pb2.SearchRequest | ClientError]) -> list[SearchResult | ClientError]:
            searches = messages(chunk)
            if not searches:
                return merge(chunk, [])
            request = search_pb2.BatchSearchRequest(requests=searches)
            response = await self._call(self._searching.BatchSearch, request, timeout)
            return merge(chunk, [convert.batch_search_result(result, view) for result in response.results])

        return _chunked(_each(queries), prepare, chunker, find)

    async def model(self, *, timeout: float | None = None) -> ModelInfo:
        """Return the facts of the served model: its hash, dimension, context length and so on."""
        return convert.model_info(await self._call(self._embedding.GetModel, embedding_pb2.GetModelRequest(), timeout))

    async def ready(self, *, timeout: float | None = None) -> bool:
        """Return whether the server reports SERVING; False where none can be reached."""
        try:
            return is_serving(await self._call(self._health, health_request(), timeout))
        except Unavailable:
            return False

    async def wait_until_ready(self, timeout: float) -> None:
        """Return once the server reports SERVING; raises DeadlineExceeded after ``timeout`` seconds."""
        deadline = self._requests.deadline(timeout, self._clock())
        while True:
            try:
                if await self.ready(timeout=self._requests.attempt_timeout(deadline, self._clock())):
                    return
            except DeadlineExceeded as error:
                raise not_ready(timeout) from error
            if self._clock() + HEALTH_POLL_S >= deadline:
                raise not_ready(timeout)
            await self._sleep(HEALTH_POLL_S)

    async def _prepare(self, item: Input) -> embedding_pb2.EmbedInput | ClientError:
        if isinstance(item, Path):
            return await asyncio.to_thread(self._requests.embed_input, item)
        return self._requests.embed_input(item)

    async def _prepare_pairs(
        self, items: Iterable[tuple[Key, Input]] | AsyncIterable[tuple[Key, Input]]
    ) -> AsyncGenerator[streams.Prepared[Key], None]:
        async for key, item in _each(items):
            yield key, await self._prepare(item)

    async def _call(
        self, method: Callable[..., Awaitable[_Response]], request: Message | bytes, timeout: float | None
    ) -> _Response:
        """Make a unary call within its deadline, again where the policy says so; raises ClientError."""
        deadline = self._requests.deadline(timeout, self._clock())
        attempt = 1
        while True:
            try:
                return await method(request, timeout=self._requests.attempt_timeout(deadline, self._clock()))
            except grpc.RpcError as cause:
                error = from_rpc_error(cause)
                wait = self._requests.retry.wait_s(error, attempt, deadline - self._clock())
                if wait is None:
                    raise error from cause
            await self._sleep(wait)
            attempt += 1


async def _each(items: Iterable[_Item] | AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    """Iterate over either kind of iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _chunked(
    items: AsyncIterator[_Item],
    prepare: Callable[[_Item], Awaitable[_Message | ClientError]],
    chunker: Chunker[_Message],
    call: Callable[[list[_Message | ClientError]], Awaitable[list[_Response]]],
) -> AsyncIterator[_Response]:
    """Yield what ``call`` makes of each chunk of the prepared items."""
    async for item in items:
        if chunk := chunker.add(await prepare(item)):
            for result in await call(chunk):
                yield result
    if chunk := chunker.rest():
        for result in await call(chunk):
            yield result
