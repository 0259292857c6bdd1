"""Searching the index by text, picture, vector or item."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.batching.lane import Lane
from clipsearch.errors import (
    BadVector,
    ClipsearchError,
    ItemNotFound,
    NprobeOutOfRange,
    WrongDimension,
)
from clipsearch.ports import Rows, VectorIndex, Vectors
from clipsearch.services.call import Call, Stages
from clipsearch.services.embed import EmbedService, ImageInput, TextInput, Vector
from clipsearch.services.limits import RequestLimits

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


@dataclass(frozen=True, slots=True)
class Probe:
    """What the search lane is given: a unit vector, or the row whose vector to use."""

    target: Vector | int
    top_k: int
    nprobe: int | None
    with_vectors: bool


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What the search lane returns: rows int64 [n], exact cosines [n], and vectors [n, dimension] where asked for."""

    rows: Rows
    scores: NDArray[np.float32]
    vectors: Vectors | None


SearchLane = Lane[Probe, Neighbours]


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
        self._lane.admission.enter(call.priority)
        try:
            target, truncated, stages = await self._target(query.query, call)
            probe = Probe(target, query.top_k, query.nprobe, query.with_vectors)
            answer = await self._lane.submit(probe, priority=call.priority, deadline=call.deadline)
        finally:
            self._lane.admission.leave()
        stages.queue_s += answer.queued_s
        stages.search_s = answer.ran_s
        near = answer.output
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

    async def _target(self, query: QueryInput, call: Call) -> tuple[Vector | int, bool, Stages]:
        match query:
            case VectorInput(vector):
                return unit_vector(vector, self._dimension), False, Stages()
            case ItemInput(item_id):
                row = await asyncio.to_thread(self._items.row_of, item_id)
                if row is None:
                    raise ItemNotFound("no item has this id", field="query.item_id", metadata={"item_id": item_id})
                return row, False, Stages()
        try:
            if isinstance(query, TextInput):
                embedded = await self._embed.text(query.text, call)
            else:
                embedded = await self._embed.image(query.data, call)
        except ClipsearchError as error:
            if error.field is not None:
                error.at("query")
            raise
        return embedded.vector, embedded.truncated, embedded.stages


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


def search_batch(index: VectorIndex, batch: Sequence[Probe]) -> list[Neighbours]:
    """Run one batch of probes, as the search lane's run function.

    Probes that ask for the same nprobe share one call to the index, at the largest top_k among them.
    """
    queries = np.empty((len(batch), index.dimension), np.float32)
    by_row = [i for i, probe in enumerate(batch) if isinstance(probe.target, int)]
    if by_row:
        queries[by_row] = index.vectors(np.array([batch[i].target for i in by_row], np.int64))
    groups: dict[int | None, list[int]] = {}
    for i, probe in enumerate(batch):
        if not isinstance(probe.target, int):
            queries[i] = probe.target
        groups.setdefault(probe.nprobe, []).append(i)
    found: list[Neighbours | None] = [None] * len(batch)
    for nprobe, members in groups.items():
        top_k = min(index.size, max(batch[i].top_k for i in members))
        scores, rows = index.search(queries[members], top_k, nprobe)
        for i, some_scores, some_rows in zip(members, scores, rows, strict=True):
            found[i] = _trim(index, batch[i], some_scores, some_rows)
    return [neighbours for neighbours in found if neighbours is not None]


def _trim(index: VectorIndex, probe: Probe, scores: NDArray[np.float32], rows: Rows) -> Neighbours:
    """Cut to the probe's own top_k and drop the places that found nothing (row -1, always last)."""
    rows = rows[: probe.top_k]
    if len(rows) and rows[-1] < 0:
        rows = rows[rows >= 0]
    return Neighbours(rows, scores[: len(rows)], index.vectors(rows) if probe.with_vectors else None)
