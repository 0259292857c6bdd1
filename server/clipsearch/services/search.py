"""Searching the index by text, picture, vector or item."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clipsearch.batching.lane import Lane
from clipsearch.errors import (
    BadVector,
    ClipsearchError,
    ItemNotFound,
    NprobeOutOfRange,
    WrongDimension,
)
from clipsearch.ports import Rows, Vectors
from clipsearch.services.call import Call, Stages
from clipsearch.services.embed import Embedded, EmbedService, ImageInput, TextInput
from clipsearch.services.limits import RequestLimits
from clipsearch.services.searcher import Lookup, Neighbours, Probe, Vector

# A vector shorter than this has no direction worth the name; unit vectors are what callers send.
MIN_NORM = 1e-6


@dataclass(frozen=True, slots=True)
class VectorInput:
    """A query vector, float32 [dimension], of any length (norm)."""

    vector: Vector


@dataclass(frozen=True, slots=True)
class ItemInput:
    """An indexed item whose stored vector is the query."""

    item_id: str


QueryInput = TextInput | ImageInput | VectorInput | ItemInput


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search, checked for shape but not yet against the limits."""

    query: QueryInput
    top_k: int
    nprobe: int | None = None
    with_metadata: bool = False
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of one search, best first."""

    ids: list[str]
    scores: list[float]
    metadata: list[dict[str, object]] | None
    vectors: Vectors | None
    truncated: bool
    stages: Stages


SearchLane = Lane[Lookup, Neighbours]


class Items(Protocol):
    """The catalogue as a search needs it."""

    def row_of(self, item_id: str) -> int | None:
        """The row of an item, None if there is none. May read the disk."""
        ...

    def ids(self, rows: Rows) -> list[str]:
        """The ids of rows. Must not block."""
        ...

    def metadata(self, rows: Rows) -> list[dict[str, object]]:
        """The metadata of rows. May read the disk."""
        ...


class SearchService:
    """The search use cases. Called on the event loop."""

    def __init__(
        self,
        *,
        embed: EmbedService,
        lane: SearchLane,
        items: Items,
        dimension: int,
        max_nprobe: int,
        limits: RequestLimits,
    ) -> None:
        self._embed = embed
        self._lane = lane
        self._items = items
        self._dimension = dimension
        self._max_nprobe = max_nprobe
        self._limits = limits

    async def search(self, query: SearchQuery, call: Call) -> Found:
        """Answer one search; raises the embedding's errors and those named in ``_check`` and ``_target``."""
        self._check(query)
        probe = Probe(query.top_k, query.nprobe, query.with_vectors)
        match query.query:
            case TextInput() | ImageInput():
                embedded = await self._embedded(query.query, probe, call)
                near, truncated, stages = embedded.near, embedded.truncated, embedded.stages
            case VectorInput() | ItemInput():
                near, stages = await self._looked_up(query.query, probe, call)
                truncated = False
        assert near is not None, "a probe always finds something, if only an empty list"
        metadata = await asyncio.to_thread(self._items.metadata, near.rows) if query.with_metadata else None
        return Found(self._items.ids(near.rows), near.scores.tolist(), metadata, near.vectors, truncated, stages)

    async def batch(
        self, queries: Sequence[SearchQuery | ClipsearchError], calls: Sequence[Call]
    ) -> list[Found | ClipsearchError]:
        """Answer many searches; each gets its hits or its own error, and errors given are passed through."""
        self._limits.check_batch(len(queries), "requests")
        return list(await asyncio.gather(*map(self._one, queries, calls)))

    async def _one(self, query: SearchQuery | ClipsearchError, call: Call) -> Found | ClipsearchError:
        if isinstance(query, ClipsearchError):
            return query
        try:
            return await self.search(query, call)
        except ClipsearchError as error:
            return error

    def _check(self, query: SearchQuery) -> None:
        self._limits.check_top_k(query.top_k)
        if query.nprobe is not None:
            self._check_nprobe(query.nprobe)

    def _check_nprobe(self, nprobe: int) -> None:
        exact = self._max_nprobe == 1  # visits everything anyway, so any positive number is right
        if nprobe < 1 or (nprobe > self._max_nprobe and not exact):
            raise NprobeOutOfRange(
                f"nprobe is {nprobe}, but must be from 1 to {self._max_nprobe}",
                field="nprobe",
                metadata={"nprobe": str(nprobe), "max_nprobe": str(self._max_nprobe)},
            )

    async def _embedded(self, query: TextInput | ImageInput, probe: Probe, call: Call) -> Embedded:
        """Embed the query and search with it, both on the encoder's lane."""
        try:
            if isinstance(query, TextInput):
                return await self._embed.text(query.text, call, probe)
            return await self._embed.image(query.data, call, probe)
        except ClipsearchError as error:
            if error.field is not None:
                error.at("query")
            raise

    async def _looked_up(self, query: VectorInput | ItemInput, probe: Probe, call: Call) -> tuple[Neighbours, Stages]:
        """Search with a vector that is there already."""
        self._lane.admission.enter(call.priority)
        try:
            target = await self._target(query)
            answer = await self._lane.submit(Lookup(target, probe), priority=call.priority, deadline=call.deadline)
        finally:
            self._lane.admission.leave()
        return answer.output, Stages(queue_s=answer.queued_s, search_s=answer.ran_s)

    async def _target(self, query: VectorInput | ItemInput) -> Vector | int:
        """The unit vector or row to search around; raises WrongDimension, BadVector or ItemNotFound."""
        if isinstance(query, VectorInput):
            return unit_vector(query.vector, self._dimension)
        row = await asyncio.to_thread(self._items.row_of, query.item_id)
        if row is None:
            raise ItemNotFound("no item has this id", field="query.item_id", metadata={"item_id": query.item_id})
        return row


def unit_vector(vector: Vector, dimension: int) -> Vector:
    """Normalise a caller's vector; raises WrongDimension or BadVector."""
    if vector.shape != (dimension,):
        raise WrongDimension(
            f"the vector has {vector.size} components, the model {dimension}",
            field="query.vector",
            metadata={"expected": str(dimension), "got": str(vector.size)},
        )
    # In float64 no float32 input overflows, so the norm is not finite only where a component is not.
    wide = vector.astype(np.float64)
    norm = math.sqrt(wide @ wide)
    if not math.isfinite(norm):
        raise BadVector("the vector holds NaN or infinity", field="query.vector")
    if norm < MIN_NORM:
        raise BadVector("the vector has no length, so no direction", field="query.vector")
    return (wide / norm).astype(np.float32)
