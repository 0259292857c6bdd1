"""Searching a collection by text, picture, vector or item, or by a weighted sum of several of them."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipsearch.batching.lane import Lane
from clipsearch.catalogue.filters.compile import CompiledFilter, compile_filter
from clipsearch.catalogue.reader import Description
from clipsearch.collection import Collection
from clipsearch.errors import (
    BadWeight,
    ClipsearchError,
    ItemNotFound,
    SequenceNotReached,
)
from clipsearch.ports import Vectors
from clipsearch.services.call import Call, Stages
from clipsearch.services.embed import Embedded, EmbedService, ImageInput, TextInput
from clipsearch.services.limits import RequestLimits, check_nprobe, check_reach
from clipsearch.services.paging import token_of
from clipsearch.services.query import (
    ItemInput,
    SearchQuery,
    Term,
    VectorInput,
    kind_of,
    page_mark,
    unit_vector,
    weighted_sum,
)
from clipsearch.services.rounds import check_shape, fill_page, open_page
from clipsearch.services.searcher import Lookup, Neighbours, Probe, Vector
from clipsearch.services.serving import Model, Pinned, Serving, Where
from clipsearch.services.shaping import Shape


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of one search, best first; ``seq`` is the sequence number of the state that was searched.

    ``next_page_token`` is empty unless pages were asked for and there is another.
    """

    ids: list[str]
    scores: list[float]
    descriptions: list[Description] | None
    vectors: Vectors | None
    truncated: bool
    seq: int
    stages: Stages
    next_page_token: str = ""


SearchLane = Lane[Pinned[Lookup], Neighbours]


class SearchService:
    """The search use cases. Called on the event loop."""

    def __init__(self, *, embed: EmbedService, lane: SearchLane, serving: Serving, limits: RequestLimits) -> None:
        self._embed = embed
        self._lane = lane
        self._serving = serving
        self._limits = limits

    async def search(self, query: SearchQuery, call: Call) -> Found:
        """Answer one search; raises the embedding's errors, the filter's, and those named below."""
        where = self._serving.where(query.collection)
        collection = where.collection
        self._check(query, collection)
        if query.shape is not None:
            return await self._shaped(query, query.shape, where, call)
        probe = await self._probe(query, collection)
        near, _, truncated, stages = await self._near(query, probe, where, call)
        described = await asyncio.to_thread(collection.descriptions, near.rows) if query.with_metadata else None
        return Found(near.ids, near.scores.tolist(), described, near.vectors, truncated, near.seq, stages)

    async def _shaped(self, query: SearchQuery, shape: Shape, where: Where, call: Call) -> Found:
        """Answer a search for a page, for one hit of each group or without near-duplicates; raises as ``search``."""
        collection = where.collection
        # One more than a page ends at is looked for, and those that are excluded besides.
        max_depth = min(self._limits.max_search_depth, collection.view.max_k - len(query.exclude_ids) - 1)
        check_shape(shape, query.top_k, max_depth)
        mark = await asyncio.to_thread(page_mark, query, shape, collection.reader.identity)
        page = await asyncio.to_thread(open_page, collection, shape, query.top_k, max_depth, mark)
        probe = await self._probe(query, collection)
        probe = replace(
            probe,
            with_ids=False,
            with_vectors=query.with_vectors or shape.collapse_above is not None,
            shown=frozenset(page.before.rows.tolist()),
            view=page.view,
        )
        target: Vector | None = None
        truncated, stages = False, Stages()

        async def nearest(k: int) -> Neighbours:
            """Embed the query in the first round; later ones have its vector."""
            nonlocal target, truncated, stages
            if target is None:
                near, target, truncated, stages = await self._near(query, replace(probe, top_k=k), where, call)
                return near
            near, more = await self._looked_up(where.model, target, replace(probe, top_k=k), call)
            stages.queue_s, stages.search_s = stages.queue_s + more.queue_s, stages.search_s + more.search_s
            return near

        hits = await fill_page(page, collection.metadata, nearest)
        ids = await asyncio.to_thread(collection.ids, hits.rows)
        described = await asyncio.to_thread(collection.descriptions, hits.rows) if query.with_metadata else None
        vectors = hits.vectors if query.with_vectors else None
        token = token_of(hits.next_before, mark) if shape.paged and hits.next_before is not None else ""
        return Found(ids, hits.scores.tolist(), described, vectors, truncated, hits.seq, stages, token)

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

    def _check(self, query: SearchQuery, collection: Collection) -> None:
        """Raise TopKOutOfRange, SearchTooDeep, NprobeOutOfRange, BatchTooLarge, BadWeight or SequenceNotReached."""
        self._limits.check_top_k(query.top_k)
        self._limits.check_batch(len(query.exclude_ids), "exclude_ids")
        self._limits.check_batch(len(query.terms), "terms")
        for term in query.terms:
            if not math.isfinite(term.weight) or term.weight == 0.0:
                raise BadWeight(f"a weight is {term.weight}, but must be a number other than 0", field=term.field)
        view = collection.view
        check_reach(query.top_k + len(query.exclude_ids), view.max_k)
        if query.nprobe is not None:
            check_nprobe(query.nprobe, view.max_nprobe)
        if query.min_seq > view.seq:
            raise SequenceNotReached(
                f"the collection is at sequence number {view.seq}, not yet at {query.min_seq}",
                metadata={"sequence_number": str(view.seq), "min_sequence_number": str(query.min_seq)},
            )

    async def _probe(self, query: SearchQuery, collection: Collection) -> Probe:
        """What to look for; raises MalformedFilter or FilterTooComplex."""
        condition = await asyncio.to_thread(_compiled, query.filter, collection) if query.filter else None
        return Probe(
            top_k=query.top_k,
            collection=collection.name,
            nprobe=query.nprobe,
            with_vectors=query.with_vectors,
            condition=condition,
            excluded=frozenset(query.exclude_ids),
            min_score=query.min_score,
            kind=kind_of(query.terms),
        )

    async def _near(
        self, query: SearchQuery, probe: Probe, where: Where, call: Call
    ) -> tuple[Neighbours, Vector, bool, Stages]:
        """What is near, what it is near to, whether a text of it was cut, and where the time went."""
        if len(query.terms) == 1 and query.terms[0].weight > 0.0:
            only = query.terms[0]
            if isinstance(only.query, TextInput) and (known := self._embed.known(where.model, only.query.text)):
                near, stages = await self._looked_up(where.model, known.vector, probe, call)
                return near, known.vector, known.truncated, stages
            if isinstance(only.query, TextInput | ImageInput):
                embedded = await self._embedded(only, probe, where.model, call)
                assert embedded.near is not None, "an encoder lane answers every probe"
                return embedded.near, embedded.vector, embedded.truncated, embedded.stages
            around = await self._target(only, where)
            near, stages = await self._looked_up(where.model, around, probe, call)
            return near, around, False, stages
        parts = await asyncio.gather(*(self._vector(term, where, call) for term in query.terms))
        target = weighted_sum([part.vector for part in parts], [term.weight for term in query.terms])
        near, stages = await self._looked_up(where.model, target, probe, call)
        longest = Stages.longest(part.stages for part in parts)
        longest.queue_s, longest.search_s = longest.queue_s + stages.queue_s, stages.search_s
        return near, target, any(part.truncated for part in parts), longest

    async def _embedded(self, term: Term, probe: Probe | None, model: Model, call: Call) -> Embedded:
        """Embed a text or a picture, and search with it on the same lane where a probe is given."""
        try:
            if isinstance(term.query, TextInput):
                return await self._embed.text(term.query.text, call, probe, model)
            assert isinstance(term.query, ImageInput)
            return await self._embed.image(term.query.data, call, probe, model)
        except ClipsearchError as error:
            if error.field is not None:
                error.at(term.field)
            raise

    async def _vector(self, term: Term, where: Where, call: Call) -> Embedded:
        """The unit vector of one term of several."""
        if isinstance(term.query, TextInput | ImageInput):
            return await self._embedded(term, None, where.model, call)
        return Embedded(await self._target(term, where))

    async def _looked_up(self, model: Model, target: Vector, probe: Probe, call: Call) -> tuple[Neighbours, Stages]:
        """Search with a vector that is there already."""
        admission = self._lane.admission
        with admission.enter(call.demand(admission)) as place:
            answer = await self._lane.submit(
                Pinned(model, Lookup(target, probe)),
                priority=call.priority,
                deadline=call.deadline,
                caller=place.caller,
            )
        return answer.output, Stages(queue_s=answer.queued_s, search_s=answer.ran_s)

    async def _target(self, term: Term, where: Where) -> Vector:
        """The vector to search around; raises WrongDimension, BadVector, ItemNotFound or EmbeddingDamaged."""
        if isinstance(term.query, VectorInput):
            return unit_vector(term.query.vector, where.model.dimension, f"{term.field}.vector")
        assert isinstance(term.query, ItemInput)
        item_id = term.query.item_id
        # From the catalogue, not from a view: between two reads of those an update may come.
        item = await asyncio.to_thread(where.collection.reader.get, item_id, with_embedding=True)
        if item is None:
            raise ItemNotFound("no item has this id", field=f"{term.field}.item_id", metadata={"item_id": item_id})
        assert item.embedding is not None, "asked for"
        return item.embedding.astype(np.float32)


def _compiled(text: str, collection: Collection) -> CompiledFilter:
    """Parse a filter and have its first scan of the catalogue done, so that no lane waits for either."""
    condition = compile_filter(text)
    collection.allowed(condition, collection.view)
    return condition
