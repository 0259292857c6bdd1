"""A seeded mix of every kind of request, good and bad, each with the status it must end with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

import grpc
import numpy as np
from grpc import aio

from clipsearch.v1 import (
    catalogue_pb2_grpc,
    common_pb2,
    embedding_pb2,
    embedding_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)

WEIGHTS = {
    "search by text": 28,
    "search by vector": 18,
    "search by image": 8,
    "search by item": 12,
    "embed text": 16,
    "batch embed": 4,
    "stream embed": 3,
    "bad input": 7,
    "cancelled": 4,
}
"""Parts of the mix."""

LONGEST_WORDS = 120
"""Well over CLIP's context of 77 tokens, so that truncation takes part."""


class Stubs:
    """The services' stubs over one asyncio channel."""

    def __init__(self, channel: aio.Channel) -> None:
        self.embedding = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self.search = search_pb2_grpc.SearchServiceStub(channel)
        self.catalogue = catalogue_pb2_grpc.CatalogueServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ``make`` sends it, and it must end with ``expected``; ``cancelled`` ones may also be answered."""

    kind: str
    make: Callable[[Stubs], Awaitable[object]]
    expected: grpc.StatusCode = grpc.StatusCode.OK
    cancelled: bool = False


class Mix:
    """An endless supply of calls."""

    def __init__(
        self, *, texts: Sequence[str], pictures: Sequence[bytes], items: Sequence[str], dimension: int, random: Random
    ) -> None:
        self._texts, self._pictures, self._items = texts, pictures, items
        self._dimension = dimension
        self._random = random
        self._words = " ".join(texts).split()
        self._makers: dict[str, Callable[[], Call]] = {
            "search by text": lambda: self._search(search_pb2.Query(text=self._random.choice(self._texts))),
            "search by vector": lambda: self._search(search_pb2.Query(vector=self._vector(self._dimension))),
            "search by image": lambda: self._search(search_pb2.Query(image=self._random.choice(self._pictures))),
            "search by item": lambda: self._search(search_pb2.Query(item_id=self._random.choice(self._items))),
            "embed text": self._embed_text,
            "batch embed": self._batch,
            "stream embed": self._stream,
            "bad input": self._bad,
            "cancelled": self._cancelled,
        }

    def next(self) -> Call:
        """Draw a call."""
        (kind,) = self._random.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))
        call = self._makers[kind]()
        return Call(kind, call.make, call.expected, call.cancelled)

    def _search(
        self, query: search_pb2.Query, top_k: int | None = None, expected: grpc.StatusCode = grpc.StatusCode.OK
    ) -> Call:
        request = search_pb2.SearchRequest(
            query=query,
            top_k=self._random.choice((1, 10, 10, 50)) if top_k is None else top_k,
            view=self._random.choice((search_pb2.VIEW_BASIC, search_pb2.VIEW_METADATA, search_pb2.VIEW_FULL)),
        )
        return Call("", lambda stubs: stubs.search.Search(request), expected)

    def _embed_text(self) -> Call:
        count = self._random.randint(1, LONGEST_WORDS)
        request = embedding_pb2.EmbedTextRequest(
            text=" ".join(self._random.choices(self._words, k=count)),
            format=self._random.choice(common_pb2.EmbeddingFormat.values()),
        )
        return Call("", lambda stubs: stubs.embedding.EmbedText(request))

    def _inputs(self, count: int) -> list[embedding_pb2.EmbedInput]:
        """Texts, pictures, and now and then something that fails alone."""
        choices = (
            lambda: embedding_pb2.EmbedInput(text=self._random.choice(self._texts)),
            lambda: embedding_pb2.EmbedInput(text=self._random.choice(self._texts)),
            lambda: embedding_pb2.EmbedInput(image=self._random.choice(self._pictures)),
            lambda: embedding_pb2.EmbedInput(image=b"no picture"),
        )
        return [self._random.choice(choices)() for _ in range(count)]

    def _batch(self) -> Call:
        request = embedding_pb2.BatchEmbedRequest(inputs=self._inputs(self._random.randint(1, 8)))
        return Call("", lambda stubs: stubs.embedding.BatchEmbed(request))

    def _stream(self) -> Call:
        inputs = self._inputs(self._random.randint(1, 16))

        async def requests() -> AsyncIterator[embedding_pb2.StreamEmbedRequest]:
            for i, item in enumerate(inputs):
                yield embedding_pb2.StreamEmbedRequest(item_id=str(i), input=item)

        async def make(stubs: Stubs) -> int:
            answers = [answer async for answer in stubs.embedding.StreamEmbed(requests())]
            if len(answers) != len(inputs):
                raise RuntimeError(f"a stream of {len(inputs)} items got {len(answers)} answers")
            return len(answers)

        return Call("", make)

    def _bad(self) -> Call:
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        truncated = self._random.choice(self._pictures)[:200]
        choices: tuple[Callable[[], Call], ...] = (
            lambda: self._search(search_pb2.Query(text="  "), expected=invalid),
            lambda: self._search(search_pb2.Query(image=truncated), expected=invalid),
            lambda: self._search(search_pb2.Query(vector=self._vector(self._dimension + 1)), expected=invalid),
            lambda: self._search(search_pb2.Query(item_id="no such item"), expected=grpc.StatusCode.NOT_FOUND),
            lambda: self._search(search_pb2.Query(text="a dress"), top_k=0, expected=invalid),
            lambda: self._search(search_pb2.Query(), expected=invalid),
        )
        return self._random.choice(choices)()

    def _cancelled(self) -> Call:
        image = self._random.random() < 0.5
        request = embedding_pb2.EmbedImageRequest(image=self._random.choice(self._pictures))
        text = embedding_pb2.EmbedTextRequest(text=self._random.choice(self._texts))
        delay_s = self._random.uniform(0.0, 0.02)

        async def make(stubs: Stubs) -> object:
            call = stubs.embedding.EmbedImage(request) if image else stubs.embedding.EmbedText(text)
            asyncio.get_running_loop().call_later(delay_s, call.cancel)
            return await call

        return Call("", make, grpc.StatusCode.CANCELLED, cancelled=True)

    def _vector(self, dimension: int) -> common_pb2.Embedding:
        values = np.random.default_rng(self._random.getrandbits(32)).standard_normal(dimension).tolist()
        return common_pb2.Embedding(float32=common_pb2.FloatVector(values=values))
